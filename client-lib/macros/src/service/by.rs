//! Threads or futures: what runs on either side of a call, and how the library names its types for it.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

/// By what calls are made, or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Threads,
    Futures,
}

impl By {
    /// What the names of its types begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Threads => "",
            Self::Futures => "Async",
        }
    }

    /// What the library calls its type: `Items` or `AsyncItems`.
    pub(super) fn name(self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// That type.
    pub(super) fn ty(self, name: &str) -> TokenStream {
        let name = format_ident!("{}", self.name(name));
        quote!(::ipc_client::#name)
    }

    /// Which traits take it.
    pub(super) fn traits(self) -> &'static str {
        match self {
            Self::Threads => "without `async fn`",
            Self::Futures => "with `async fn`",
        }
    }
}
