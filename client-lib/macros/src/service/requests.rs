//! The types that travel: a request for each method, and each event.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;

use super::{
    argument::Argument,
    contract::Contract,
    method::{Event, Method},
    reply::error_or_none,
};

pub(super) fn write(contract: &Contract) -> TokenStream {
    let requests = contract.methods.iter().map(|method| request(contract, method));
    let events = contract.events.iter().map(|told| event(contract, told));
    quote!(#(#requests)* #(#events)*)
}

fn request(contract: &Contract, method: &Method) -> TokenStream {
    let Contract { vis, ident: of, name: service, .. } = contract;
    let Method { request, name, ident, cfgs, .. } = method;
    let fields = method.fields().map(|field| owned_field(contract, field));
    let doc = format!("The request of [`{of}::{ident}`].");
    let implemented = implemented(service, name, method);
    let twin = twin(method);
    quote! {
        #(#cfgs)*
        #[doc = #doc]
        #[derive(::ipc_client::generated::serde::Serialize, ::ipc_client::generated::serde::Deserialize)]
        #[serde(crate = "::ipc_client::generated::serde", deny_unknown_fields)]
        #[allow(missing_docs, dead_code)]
        #vis struct #request { #(#fields),* }
        #(#cfgs)*
        #implemented
        #twin
    }
}

/// The method that a request is for.
fn implemented(service: &syn::LitStr, name: &syn::LitStr, method: &Method) -> TokenStream {
    let Method { request, reply, .. } = method;
    let (ty, error) = (&reply.ty, error_or_none(reply.error.as_ref()));
    if !method.is_streamed() {
        return quote! {
            impl ::ipc_client::Method for #request {
                const SERVICE: &'static str = #service;
                const METHOD: &'static str = #name;
                type Reply = #ty;
                type Error = #error;
            }
        };
    }
    let (upload, items) = direction(method.items().map(|(_, item)| item));
    let (download, gives) = direction(method.gives());
    quote! {
        impl ::ipc_client::StreamMethod for #request {
            const SERVICE: &'static str = #service;
            const METHOD: &'static str = #name;
            const UPLOAD: bool = #upload;
            const DOWNLOAD: bool = #download;
            type In = #items;
            type Out = #gives;
            type Reply = #ty;
            type Error = #error;
        }
    }
}

fn direction(item: Option<&Type>) -> (bool, TokenStream) {
    item.map_or((false, quote!(())), |item| (true, quote!(#item)))
}

/// The request as a caller has it who owns nothing.
fn twin(method: &Method) -> TokenStream {
    let Some(twin) = method.twin() else { return TokenStream::new() };
    let Method { request, cfgs, .. } = method;
    let fields = method.fields().map(Argument::borrowed_field);
    let doc = format!("A [`{request}`] of what its caller only borrows.");
    let form = if method.is_streamed() { quote!(AsStreamRequest) } else { quote!(AsRequest) };
    quote! {
        #(#cfgs)*
        #[doc = #doc]
        #[derive(::ipc_client::generated::serde::Serialize)]
        #[serde(crate = "::ipc_client::generated::serde")]
        #[allow(dead_code)]
        struct #twin<'a> { #(#fields),* }
        #(#cfgs)*
        impl ::ipc_client::#form for #twin<'_> {
            type Method = #request;
        }
    }
}

fn event(contract: &Contract, event: &Event) -> TokenStream {
    let Contract { vis, .. } = contract;
    let Event { ident, topic, docs, cfgs, fields, .. } = event;
    let fields = fields.iter().map(|field| owned_field(contract, field));
    let published_by_futures = cfg!(feature = "tokio").then(|| {
        quote! {
            /// As `publish`, for futures.
            ///
            /// # Errors
            /// As [`ipc_client::AsyncClient::publish`].
            #vis async fn publish_async(&self, client: &::ipc_client::AsyncClient) -> ::ipc_client::Result<u32> {
                client.publish(&Self::TOPIC, self).await
            }
        }
    });
    let about = format!("An event on `{}`.", topic.value());
    quote! {
        #(#cfgs)*
        #(#docs)*
        #[doc = ""]
        #[doc = #about]
        #[derive(::ipc_client::generated::serde::Serialize, ::ipc_client::generated::serde::Deserialize)]
        #[serde(crate = "::ipc_client::generated::serde")]
        #[allow(missing_docs, dead_code)]
        #vis struct #ident { #(#fields),* }
        #(#cfgs)*
        #[allow(dead_code)]
        impl #ident {
            /// Where it is published: `client.subscribe` takes it.
            #vis const TOPIC: ::ipc_client::FixedTopic<Self> = ::ipc_client::FixedTopic::new(#topic);

            /// Publishes it, and returns the number of subscriptions that it was sent to.
            ///
            /// # Errors
            /// As [`ipc_client::Client::publish`].
            #vis fn publish(&self, client: &::ipc_client::Client) -> ::ipc_client::Result<u32> {
                client.publish(&Self::TOPIC, self)
            }

            #published_by_futures
        }
    }
}

fn owned_field(contract: &Contract, field: &Argument) -> TokenStream {
    let (vis, name, ty) = (&contract.vis, &field.name, field.owned());
    quote!(#vis #name: #ty)
}
