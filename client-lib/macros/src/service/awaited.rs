//! A trait with async methods, and the service of a type that implements it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::{ItemTrait, ReturnType, TraitItem, TraitItemFn, parse_quote, parse_quote_spanned};

use super::{
    contract::Contract,
    method::Method,
    reply::passed_on,
    served::{self, Parts, called, given, with_service},
};

/// The trait, whose futures any thread of the runtime can run, with a function that makes a service of what implements it.
pub(super) fn write(contract: &Contract, mut item: ItemTrait) -> TokenStream {
    item.items.iter_mut().for_each(|member| {
        if let TraitItem::Fn(function) = member {
            promise(function);
        }
    });
    with_service(contract, item, answer)
}

/// `async fn` as the compiler takes it in a trait, with the promise that another thread may go on with it. Who implements the trait writes
/// `async fn` all the same.
fn promise(function: &mut TraitItemFn) {
    let Some(asyncness) = function.sig.asyncness.take() else { return };
    let output = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, output) => quote!(#output),
    };
    // Told where the method is, should an implementation not keep it.
    let here = asyncness.span.resolved_at(Span::call_site());
    function.sig.output =
        parse_quote_spanned!(here=> -> impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    if let Some(block) = &function.default {
        function.default = Some(parse_quote!({ async move #block }));
    }
}

/// How a call is answered: its request is taken apart, and the method is called with the parts, by the future that owns them.
fn answer(of: &Ident, method: &Method) -> TokenStream {
    if method.is_quick() {
        return served::answer(of, method); // which needs no future
    }
    let Parts { service, this, context, items, sink } = Parts::default();
    let called = called(of, method, &quote!(&*#this), &quote!(&#context));
    let verb = method.verb();
    let Method { request, cfgs, reply, .. } = method;
    let (fields, given) = (method.fields().map(|argument| &argument.name), given(method, &items, &sink, &context));
    let awaited = method.is_async.then(|| quote!(.await));
    let passed_on = reply.is_fallible.then(|| passed_on(reply.error.as_ref()));
    quote! {
        #(#cfgs)*
        let #service = #service.#verb::<#request, _>(|#this, #request { #(#fields),* }, #given| async move {
            ::core::result::Result::Ok(#called #awaited #passed_on)
        });
    }
}
