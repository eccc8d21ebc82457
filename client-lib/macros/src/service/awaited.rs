//! A trait with async methods, and the service of a type that implements it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{ItemTrait, ReturnType, TraitItem, TraitItemFn, parse_quote};

use super::{
    contract::Contract,
    method::{Method, Parameter},
    reply::error_or_none,
    served::{Kind, with_service},
};

/// The trait, whose futures any thread of the runtime can run, with a function that makes a service of what implements it.
pub(super) fn write(contract: &Contract, mut item: ItemTrait) -> TokenStream {
    item.items.iter_mut().for_each(|member| {
        if let TraitItem::Fn(function) = member {
            promise(function);
        }
    });
    let kind = Kind { service: quote!(AsyncService), implemented: quote!(AsyncImplemented), answer };
    with_service(contract, item, &kind)
}

/// `async fn` as the compiler takes it in a trait, with the promise that another thread may go on with it. Who implements the trait writes
/// `async fn` all the same.
fn promise(function: &mut TraitItemFn) {
    if function.sig.asyncness.take().is_none() {
        return;
    }
    let output = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, output) => quote!(#output),
    };
    function.sig.output = parse_quote!(-> impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    if let Some(block) = &function.default {
        function.default = Some(parse_quote!({ async move #block }));
    }
}

/// How a call is answered: its request is taken apart, and the method is called with the parts, by the future that owns them.
fn answer(of: &Ident, method: &Method) -> TokenStream {
    let Method { ident, request, cfgs, reply, .. } = method;
    let [service, this, context, items, sink] =
        ["service", "this", "context", "items", "sink"].map(|name| Ident::new(name, Span::mixed_site()));
    let fields = method.fields().map(|argument| &argument.name);
    let arguments = method.parameters.iter().map(|parameter| match parameter {
        Parameter::Context => quote!(&#context),
        Parameter::Field(argument) => argument.passed(),
        Parameter::Items(..) => quote!(#items),
        Parameter::Sink(_) => quote!(#sink),
    });
    let awaited = method.is_async.then(|| quote!(.await));
    let fallible = reply.is_fallible.then(|| quote!(?));
    let error = error_or_none(reply.error.as_ref());
    let streams = method.is_streamed().then(|| quote!(#items, #sink,));
    let verb = if method.is_streamed() { format_ident!("stream") } else { format_ident!("method") };
    quote! {
        #(#cfgs)*
        #[allow(unused_variables)]
        let #service = #service.#verb(|#this: ::std::sync::Arc<Self>, #request { #(#fields),* }, #streams #context| async move {
            ::core::result::Result::<_, ::ipc_client::Failed<#error>>::Ok(
                #of::#ident(&*#this, #(#arguments),*)#awaited #fallible
            )
        });
    }
}
