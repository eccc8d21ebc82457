//! What a service says about itself: names, doc comments, and types as they are written.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Type, ext::IdentExt};

use super::{
    argument::Argument,
    contract::Contract,
    method::{Event, Manner, Method},
};
use crate::text::of_type;

/// A `ServiceDoc`.
pub(super) fn write(contract: &Contract) -> TokenStream {
    let Contract { name, text, .. } = contract;
    let methods = contract.methods.iter().map(method);
    let events = contract.events.iter().map(event);
    quote! {
        &::ipc_client::ServiceDoc { name: #name, text: #text, methods: &[#(#methods),*], events: &[#(#events),*] }
    }
}

fn method(method: &Method) -> TokenStream {
    let Method { name, text, cfgs, reply, .. } = method;
    let arguments = arguments(method.fields());
    let items = optional(method.items().map(|(_, item)| item));
    let gives = optional(method.gives());
    let error = optional(reply.error.as_ref());
    let reply = of_type(&reply.ty);
    let is_one_way = matches!(method.manner, Manner::OneWay { .. });
    quote! {
        #(#cfgs)*
        ::ipc_client::MethodDoc {
            name: #name,
            text: #text,
            arguments: #arguments,
            items: #items,
            gives: #gives,
            reply: #reply,
            error: #error,
            is_one_way: #is_one_way,
        }
    }
}

fn event(event: &Event) -> TokenStream {
    let Event { topic, text, cfgs, fields, .. } = event;
    let arguments = arguments(fields.iter());
    quote! {
        #(#cfgs)*
        ::ipc_client::EventDoc { topic: #topic, text: #text, arguments: #arguments }
    }
}

fn arguments<'a>(fields: impl Iterator<Item = &'a Argument>) -> TokenStream {
    let fields = fields.map(|field| {
        let (name, ty) = (field.name.unraw().to_string(), of_type(&field.ty));
        quote!((#name, #ty))
    });
    quote!(&[#(#fields),*])
}

fn optional(ty: Option<&Type>) -> TokenStream {
    match ty.map(of_type) {
        Some(ty) => quote!(::core::option::Option::Some(#ty)),
        None => quote!(::core::option::Option::None),
    }
}
