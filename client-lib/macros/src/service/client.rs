//! The blocking client: a method for each of the trait, which borrows what it sends.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{
    contract::Contract,
    method::{Manner, Method, Parameter},
};

pub(super) fn write(contract: &Contract) -> TokenStream {
    let Contract { vis, ident: of, name, .. } = contract;
    let client = contract.client();
    let about = format!("Calls [`{of}`] in another process, blocking; clones share a connection.");
    let connects = format!("Connects to the broker that the environment gives, for the service `{}`.", name.value());
    let methods = contract.methods.iter().map(|method| call(contract, method));
    quote! {
        #[doc = #about]
        #[derive(Clone, Debug)]
        #[allow(dead_code)]
        #vis struct #client { remote: ::ipc_client::Remote }

        #[allow(dead_code, clippy::too_many_arguments)]
        impl #client {
            #[doc = #connects]
            ///
            /// # Errors
            /// As [`ipc_client::Client::connect`].
            #vis fn connect() -> ::ipc_client::Result<Self> {
                ::core::result::Result::Ok(Self::new(&::ipc_client::Client::connect()?))
            }

            /// Calls over a connection that is there.
            #[must_use]
            #vis fn new(client: &::ipc_client::Client) -> Self {
                Self { remote: ::ipc_client::Remote::new(client) }
            }

            /// The service of another name: see [`ipc_client::Remote::named`].
            #[must_use]
            #vis fn named(self, name: &str) -> Self {
                Self { remote: self.remote.named(name) }
            }

            /// Gives each call this long: see [`ipc_client::Remote::within`].
            #[must_use]
            #vis fn within(self, timeout: ::core::time::Duration) -> Self {
                Self { remote: self.remote.within(timeout) }
            }

            /// What carries the calls: it can also start them and wait later.
            #[must_use]
            #vis fn remote(&self) -> &::ipc_client::Remote {
                &self.remote
            }

            #(#methods)*
        }
    }
}

fn call(contract: &Contract, method: &Method) -> TokenStream {
    let vis = &contract.vis;
    let Method { ident, docs, cfgs, reply, request, .. } = method;
    let parameters = method.parameters.iter().filter_map(|parameter| match parameter {
        Parameter::Field(argument) => {
            let (name, ty) = (&argument.name, &argument.ty);
            Some(quote!(#name: #ty))
        }
        Parameter::Items(name, item) if method.gives().is_none() => {
            Some(quote!(#name: impl ::core::iter::IntoIterator<Item = #item>))
        }
        Parameter::Items(..) | Parameter::Context | Parameter::Sink(_) => None,
    });
    let fields = method.fields().map(|argument| &argument.name);
    let sent = method.twin().unwrap_or_else(|| request.clone());
    let sent = quote!(&#sent { #(#fields),* });
    let by = |verb: &str, more: TokenStream| {
        let verb = format_ident!("{verb}");
        quote!(self.remote.#verb(#sent #more))
    };
    let (returned, body) = if method.gives().is_some() {
        (quote!(::ipc_client::Result<::ipc_client::StreamCall<#request>>), by("stream", quote!()))
    } else if matches!(method.manner, Manner::OneWay { .. }) {
        (quote!(::ipc_client::Result<()>), by("tell", quote!()))
    } else {
        let ended = match method.items() {
            Some((items, _)) => by("upload", quote!(, #items)),
            None => by("call", quote!()),
        };
        let ty = &reply.ty;
        match &reply.error {
            Some(error) => (quote!(::core::result::Result<#ty, ::ipc_client::CallError<#error>>), ended),
            None => (quote!(::ipc_client::Result<#ty>), quote!(::core::result::Result::Ok(#ended?))),
        }
    };
    let errors = (!method.text.contains("# Errors")).then(|| {
        quote! {
            ///
            /// # Errors
            /// What the call ended with.
        }
    });
    quote! {
        #(#cfgs)*
        #(#docs)*
        #errors
        #vis fn #ident(&self, #(#parameters),*) -> #returned {
            #body
        }
    }
}
