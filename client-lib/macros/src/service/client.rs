//! The clients: a method for each of the trait, which borrows what it sends; for threads, and for futures.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{
    by::By,
    contract::Contract,
    method::{Manner, Method, Parameter},
};

pub(super) fn write(contract: &Contract, by: By) -> TokenStream {
    let Contract { vis, ident: of, name, .. } = contract;
    let ident = format_ident!("{}{of}Client", by.prefix());
    let [remote, client] = ["Remote", "Client"].map(|name| by.ty(name));
    let (asyncness, awaited, how) = match by {
        By::Threads => (quote!(), quote!(), "blocking"),
        By::Futures => (quote!(async), quote!(.await), "with futures"),
    };
    let about = format!("Calls [`{of}`] in another process, {how}; clones share a connection.");
    let connects = format!("Connects to the broker that the environment gives, for the service `{}`.", name.value());
    let methods = contract.methods.iter().map(|method| call(contract, method, by));
    quote! {
        #[doc = #about]
        #[derive(Clone, Debug)]
        #[allow(dead_code)]
        #vis struct #ident { remote: #remote }

        #[allow(dead_code, clippy::too_many_arguments)]
        impl #ident {
            #[doc = #connects]
            ///
            /// # Errors
            /// As [`ipc_client::Client::connect`].
            #vis #asyncness fn connect() -> ::ipc_client::Result<Self> {
                ::core::result::Result::Ok(Self::new(&#client::connect()#awaited?))
            }

            /// Calls over a connection that is there.
            #[must_use]
            #vis fn new(client: &#client) -> Self {
                Self { remote: #remote::new(client) }
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
            #vis fn remote(&self) -> &#remote {
                &self.remote
            }

            #(#methods)*
        }
    }
}

fn call(contract: &Contract, method: &Method, by: By) -> TokenStream {
    let vis = &contract.vis;
    let is_future = by == By::Futures;
    // Only threads have an iterator to send all of.
    let is_uploaded = !is_future && method.gives().is_none();
    let (asyncness, awaited) = if is_future { (quote!(async), quote!(.await)) } else { (quote!(), quote!()) };
    let stream_call = by.ty("StreamCall");
    let Method { ident, docs, cfgs, reply, request, .. } = method;
    let parameters = method.parameters.iter().filter_map(|parameter| match parameter {
        Parameter::Field(argument) => {
            let (name, ty) = (&argument.name, &argument.ty);
            Some(quote!(#name: #ty))
        }
        Parameter::Items(name, item) if is_uploaded => {
            Some(quote!(#name: impl ::core::iter::IntoIterator<Item = #item>))
        }
        Parameter::Items(..) | Parameter::Context | Parameter::Sink(_) => None,
    });
    let fields = method.fields().map(|argument| &argument.name);
    let sent = method.twin().unwrap_or_else(|| request.clone());
    let sent = quote!(&#sent { #(#fields),* });
    let send = |verb: &str, more: TokenStream| {
        let verb = format_ident!("{verb}");
        quote!(self.remote.#verb(#sent #more)#awaited)
    };
    let (returned, body) = if method.is_streamed() && !is_uploaded {
        (quote!(::ipc_client::Result<#stream_call<#request>>), send("stream", quote!()))
    } else if matches!(method.manner, Manner::OneWay { .. }) {
        (quote!(::ipc_client::Result<()>), send("tell", quote!()))
    } else {
        let ended = match method.items() {
            Some((items, _)) => send("upload", quote!(, #items)),
            None => send("call", quote!()),
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
        #vis #asyncness fn #ident(&self, #(#parameters),*) -> #returned {
            #body
        }
    }
}
