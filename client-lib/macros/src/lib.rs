//! The macros of `ipc-client`, which exports and describes them: a service as a trait, and errors with codes.
//!
//! What they write is small and calls `ipc_client`, where the work is done. A mistake is an error at the line that has it.

#![forbid(unsafe_code)]

mod app_error;
mod service;
mod text;

use proc_macro::TokenStream;

/// Makes a service of a trait: see `ipc_client::service`.
#[proc_macro_attribute]
pub fn service(arguments: TokenStream, item: TokenStream) -> TokenStream {
    service::expand(arguments.into(), item.into()).into()
}

/// Gives each variant of an error a code: see `ipc_client::AppError`.
#[proc_macro_derive(AppError, attributes(code, text, nested))]
pub fn app_error(item: TokenStream) -> TokenStream {
    app_error::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
