//! What a trait says: its name, its methods, its events.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use syn::{Ident, ItemTrait, LitStr, Result, TraitItem, Visibility, meta, parse::Parser, spanned::Spanned};

use super::{
    by::By,
    method::{Event, Method},
};
use crate::text::{Mistakes, of_docs, wrong_with_name};

/// A trait that is a service.
pub(super) struct Contract {
    pub(super) vis: Visibility,
    pub(super) ident: Ident,
    /// The name that callers use.
    pub(super) name: LitStr,
    pub(super) text: String,
    /// By what its calls are answered.
    pub(super) by: By,
    pub(super) methods: Vec<Method>,
    pub(super) events: Vec<Event>,
}

impl Contract {
    /// Reads a trait, and takes out of it what the compiler doesn't know: the attributes, and the events.
    pub(super) fn read(arguments: TokenStream, item: &mut ItemTrait, mistakes: &mut Mistakes) -> Option<Self> {
        let name = mistakes.keep(name_of(arguments));
        if let Some(generic) = item.generics.params.first() {
            mistakes.add_at(generic, "a service has no parameters: its requests are types of their own");
        }
        let (name, by) = (name?, answered_by(item));
        let (mut methods, mut events) = (Vec::new(), Vec::new());
        let mut items = Vec::new();
        for member in std::mem::take(&mut item.items) {
            match member {
                TraitItem::Fn(function) if Event::is_one(&function) => {
                    events.extend(mistakes.keep(Event::read(&function, &item.ident, &name)));
                }
                TraitItem::Fn(mut function) => {
                    methods.extend(mistakes.keep(Method::read(&mut function, &item.ident, by)));
                    items.push(TraitItem::Fn(function));
                }
                other => {
                    mistakes.add_at(&other, "a service has methods and events, and nothing else");
                    items.push(other);
                }
            }
        }
        item.items = items;
        refuse_duplicates(&methods, mistakes);
        let (vis, ident, text) = (item.vis.clone(), item.ident.clone(), of_docs(&item.attrs));
        Some(Self { vis, ident, name, text, by, methods, events })
    }
}

/// Futures answer the calls of a service if one of its methods is one.
fn answered_by(item: &ItemTrait) -> By {
    let is_async = |member: &TraitItem| matches!(member, TraitItem::Fn(function) if function.sig.asyncness.is_some());
    if item.items.iter().any(is_async) { By::Futures } else { By::Threads }
}

/// The name in `#[service(name = "calc")]`.
fn name_of(arguments: TokenStream) -> Result<LitStr> {
    let mut name = None;
    let parser = meta::parser(|argument| {
        if !argument.path.is_ident("name") {
            return Err(argument.error("only `name` is known here"));
        }
        name = Some(argument.value()?.parse::<LitStr>()?);
        Ok(())
    });
    parser.parse2(arguments)?;
    let name = name.ok_or_else(|| syn::Error::new(Span::call_site(), "the service has no name: `name = \"calc\"`"))?;
    match wrong_with_name(&name.value()) {
        Some(wrong) => Err(syn::Error::new(name.span(), format!("not a valid name of a service: {wrong}"))),
        None => Ok(name),
    }
}

/// Callers could not tell them apart.
fn refuse_duplicates(methods: &[Method], mistakes: &mut Mistakes) {
    let mut names = HashSet::new();
    for method in methods.iter().filter(|method| method.cfgs.is_empty()) {
        if !names.insert(method.name.value()) {
            let text = format!("two methods have the name {:?}", method.name.value());
            mistakes.add(syn::Error::new(method.name.span().span(), text));
        }
    }
}
