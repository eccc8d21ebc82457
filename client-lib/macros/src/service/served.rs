//! The trait, and the service of a type that implements it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{ItemTrait, TraitItem, parse_quote};

use super::{
    contract::Contract,
    doc,
    method::{Manner, Method, Parameter},
};

/// The trait, with a function that makes a service of what implements it.
pub(super) fn write(contract: &Contract, item: ItemTrait) -> TokenStream {
    let kind = Kind { service: quote!(Service), implemented: quote!(Implemented), answer };
    with_service(contract, item, &kind)
}

/// A kind of service, and how its methods are answered.
pub(super) struct Kind {
    /// Its type in the library.
    pub(super) service: TokenStream,
    /// The type that it is made with.
    pub(super) implemented: TokenStream,
    pub(super) answer: fn(of: &Ident, method: &Method) -> TokenStream,
}

/// A trait, with a function that makes a service of some kind.
pub(super) fn with_service(contract: &Contract, mut item: ItemTrait, kind: &Kind) -> TokenStream {
    let Kind { service: ty, implemented, answer } = kind;
    let said = doc::write(contract);
    let doc = format!("The service `{}` whose methods are these.", contract.name.value());
    let answers = contract.methods.iter().map(|method| answer(&contract.ident, method));
    // The names of arguments can't clash with those that only the macro knows.
    let service = Ident::new("service", Span::mixed_site());
    let made: TraitItem = parse_quote! {
        #[doc = #doc]
        #[allow(clippy::needless_question_mark, clippy::unit_arg)]
        fn into_service(self) -> ::ipc_client::#ty
        where
            Self: ::core::marker::Sized + ::core::marker::Send + ::core::marker::Sync + 'static,
        {
            let #service = ::ipc_client::generated::#implemented::new(self, #said);
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
fn answer(of: &Ident, method: &Method) -> TokenStream {
    let Method { ident, request, cfgs, manner, .. } = method;
    let [service, this, context, items, sink] =
        ["service", "this", "context", "items", "sink"].map(|name| Ident::new(name, Span::mixed_site()));
    let unused = |is_used: bool, name: &Ident| if is_used { quote!(#name) } else { quote!(_) };
    let has = |is: fn(&Parameter) -> bool| method.parameters.iter().any(is);
    let fields = method.fields().map(|argument| &argument.name);
    let arguments = method.parameters.iter().map(|parameter| match parameter {
        Parameter::Context => quote!(#context),
        Parameter::Field(argument) => argument.passed(),
        Parameter::Items(..) => quote!(#items),
        Parameter::Sink(_) => quote!(#sink),
    });
    let called = quote!(#of::#ident(#this, #(#arguments),*));
    let answered = answered(method, &called, &sink);
    let context = unused(has(|parameter| matches!(parameter, Parameter::Context)), &context);
    let streams = method.is_streamed().then(|| {
        let items = unused(method.items().is_some(), &items);
        let sink = unused(method.gives().is_some(), &sink);
        quote!(#items, #sink,)
    });
    let verb = match manner {
        _ if method.is_streamed() => format_ident!("stream"),
        Manner::Quick | Manner::OneWay { is_quick: true } => format_ident!("quick"),
        Manner::Pooled | Manner::OneWay { is_quick: false } => format_ident!("method"),
    };
    quote! {
        #(#cfgs)*
        let #service = #service.#verb(|#this: &Self, #request { #(#fields),* }, #streams #context| #answered);
    }
}

/// The result of a call of the trait's method, as the service wants it.
fn answered(method: &Method, called: &TokenStream, sink: &Ident) -> TokenStream {
    let reply = &method.reply;
    let value = if reply.is_fallible { quote!(#called?) } else { called.clone() };
    match &reply.gives {
        None => quote!(::core::result::Result::Ok(#value)),
        Some(given) if given.is_fallible => quote!(::ipc_client::generated::try_pour(#value, #sink)),
        Some(_) => quote!(::ipc_client::generated::pour(#value, #sink)),
    }
}
