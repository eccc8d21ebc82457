//! The trait, and the service of a type that implements it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{ItemTrait, TraitItem, parse_quote};

use super::{
    contract::Contract,
    doc,
    method::{Method, Parameter},
    reply::passed_on,
};

/// The trait, with a function that makes a service of what implements it.
pub(super) fn write(contract: &Contract, item: ItemTrait) -> TokenStream {
    with_service(contract, item, answer)
}

/// A trait, with a function that makes a service of what answers each method.
pub(super) fn with_service(
    contract: &Contract,
    mut item: ItemTrait,
    answer: fn(of: &Ident, method: &Method) -> TokenStream,
) -> TokenStream {
    let (ty, implemented) = (contract.by.ty("Service"), format_ident!("{}", contract.by.name("Implemented")));
    let said = doc::write(contract);
    let about = format!("The service `{}` whose methods are these.", contract.name.value());
    let answers = contract.methods.iter().map(|method| answer(&contract.ident, method));
    let [doc, service] = ["doc", "service"].map(|name| Ident::new(name, Span::mixed_site()));
    let made: TraitItem = parse_quote! {
        #[doc = #about]
        #[allow(clippy::needless_question_mark)]
        fn into_service(self) -> #ty
        where
            Self: ::core::marker::Sized + ::core::marker::Send + ::core::marker::Sync + 'static,
        {
            let #doc = #said;
            let #service = ::ipc_client::generated::#implemented::new(self, &#doc);
            #(#answers)*
            #service.into_service()
        }
    };
    item.items.push(made);
    quote! {
        #[allow(dead_code)]
        #item
    }
}

/// How a call is answered: its request is taken apart, and the method is called with the parts.
pub(super) fn answer(of: &Ident, method: &Method) -> TokenStream {
    let Parts { service, this, context, items, sink } = Parts::default();
    let called = called(of, method, &quote!(#this), &quote!(#context));
    let answered = answered(method, &called, &sink);
    let verb = method.verb();
    let Method { request, cfgs, .. } = method;
    let (fields, given) = (method.fields().map(|argument| &argument.name), given(method, &items, &sink, &context));
    quote! {
        #(#cfgs)*
        let #service = #service.#verb(|#this, #request { #(#fields),* }, #given| #answered);
    }
}

/// Names that can't clash with those of arguments, for only the macro knows them.
pub(super) struct Parts {
    pub(super) service: Ident,
    pub(super) this: Ident,
    pub(super) context: Ident,
    pub(super) items: Ident,
    pub(super) sink: Ident,
}

impl Default for Parts {
    fn default() -> Self {
        let [service, this, context, items, sink] =
            ["service", "this", "context", "items", "sink"].map(|name| Ident::new(name, Span::mixed_site()));
        Self { service, this, context, items, sink }
    }
}

/// A call of the trait's method.
pub(super) fn called(of: &Ident, method: &Method, this: &TokenStream, context: &TokenStream) -> TokenStream {
    let Parts { items, sink, .. } = Parts::default();
    let arguments = method.parameters.iter().map(|parameter| match parameter {
        Parameter::Context => context.clone(),
        Parameter::Field(argument) => argument.passed(),
        Parameter::Items(..) => quote!(#items),
        Parameter::Sink(_) => quote!(#sink),
    });
    let ident = &method.ident;
    quote!(#of::#ident(#this, #(#arguments),*))
}

/// What a method is given besides its request, as far as it takes it.
pub(super) fn given(method: &Method, items: &Ident, sink: &Ident, context: &Ident) -> TokenStream {
    let unless_unused = |is_used: bool, name: &Ident| if is_used { quote!(#name) } else { quote!(_) };
    let takes_context = method.parameters.iter().any(|parameter| matches!(parameter, Parameter::Context));
    let context = unless_unused(takes_context, context);
    if !method.is_streamed() {
        return context;
    }
    let items = unless_unused(method.items().is_some(), items);
    let sink = unless_unused(method.gives().is_some(), sink);
    quote!(#items, #sink, #context)
}

/// The result of a call of the trait's method, as the service wants it.
fn answered(method: &Method, called: &TokenStream, sink: &Ident) -> TokenStream {
    let reply = &method.reply;
    let passed_on = reply.is_fallible.then(|| passed_on(reply.error.as_ref()));
    let value = quote!(#called #passed_on);
    match &reply.gives {
        None => quote!(::core::result::Result::Ok(#value)),
        Some(given) if given.is_fallible => quote!(::ipc_client::generated::try_pour(#value, #sink)),
        Some(_) => quote!(::ipc_client::generated::pour(#value, #sink)),
    }
}
