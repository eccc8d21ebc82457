//! What a service says of itself: its doc comments. Types are traced when it runs.

use proc_macro2::TokenStream;
use quote::quote;

use super::{
    contract::Contract,
    method::{Event, Manner, Method},
};

/// A `Doc`.
pub(super) fn write(contract: &Contract) -> TokenStream {
    let Contract { name, text, .. } = contract;
    let methods = contract.methods.iter().map(method);
    let events = contract.events.iter().map(event);
    quote! {
        ::ipc_client::generated::Doc { name: #name, text: #text, methods: &[#(#methods),*], events: &[#(#events),*] }
    }
}

fn method(method: &Method) -> TokenStream {
    let Method { name, text, cfgs, manner, .. } = method;
    let is_one_way = matches!(manner, Manner::OneWay { .. });
    quote! {
        #(#cfgs)*
        ::ipc_client::generated::MethodDoc { name: #name, text: #text, is_one_way: #is_one_way }
    }
}

fn event(event: &Event) -> TokenStream {
    let Event { ident, topic, text, cfgs, .. } = event;
    quote! {
        #(#cfgs)*
        ::ipc_client::generated::EventDoc { topic: #topic, text: #text, event: ::ipc_client::Type::of::<#ident> }
    }
}
