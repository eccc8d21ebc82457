//! A service as a trait: read into a [`Contract`], and written from it as types of requests, a client and a service.
//!
//! ```text
//! trait -> contract (method, argument, reply) -> requests   a type for each method and event
//!                                             -> client     what callers use, threads and futures
//!                                             -> served     the trait, and the service of what implements it
//!                                             -> awaited    the same of a trait with async methods
//!                                             -> doc        what both say about themselves
//! ```

mod argument;
mod awaited;
mod by;
mod client;
mod contract;
mod doc;
mod method;
mod reply;
mod requests;
mod served;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemTrait;

use self::{by::By, contract::Contract};
use crate::text::Mistakes;

/// What the attribute makes of a trait. After a mistake that is the trait alone, so that what names it has no error of its own.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut item: ItemTrait = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            let text = format!("a service is a trait: {error}");
            return syn::Error::new(error.span(), text).into_compile_error();
        }
    };
    let mut mistakes = Mistakes::default();
    let contract = Contract::read(arguments, &mut item, &mut mistakes);
    match contract {
        Some(contract) if mistakes.is_empty() => {
            let (requests, client) = (requests::write(&contract), client::write(&contract, By::Threads));
            let of_futures = cfg!(feature = "tokio").then(|| client::write(&contract, By::Futures));
            let served = match contract.by {
                By::Threads => served::write(&contract, item),
                By::Futures => awaited::write(&contract, item),
            };
            quote!(#served #requests #client #of_futures)
        }
        _ => {
            let mistakes = mistakes.into_tokens();
            quote!(#item #mistakes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: TokenStream) -> String {
        expand(quote!(name = "calc"), item).to_string()
    }

    #[test]
    fn a_method_becomes_a_request_and_a_call() {
        let code = expanded(quote! {
            trait Calc { fn add(&self, a: i64, b: i64) -> Result<i64, CalcError>; }
        });
        for part in
            ["struct CalcAdd", "type Error = CalcError", "CallError < CalcError >", "fn into_service", "CalcClient"]
        {
            assert!(code.contains(part), "{part}: {code}");
        }
        assert!(!code.contains("CalcAddRef") && !code.contains("compile_error"), "{code}");
    }

    #[test]
    fn only_a_request_that_borrows_has_a_twin() {
        let code = expanded(quote!(
            trait Calc {
                fn put(&self, key: &str, value: &[u8]);
                fn now(&self) -> u64;
            }
        ));
        assert!(code.contains("struct CalcPutRef < 'a >") && !code.contains("CalcNowRef"), "{code}");
    }

    #[test]
    fn an_event_is_no_method_of_the_trait() {
        let code = expanded(quote!(
            trait Calc {
                #[event]
                fn done(result: i64);
            }
        ));
        assert!(
            code.contains("struct CalcDone") && code.contains("\"calc.done\"") && !code.contains("fn done"),
            "{code}"
        );
    }

    #[test]
    fn after_a_mistake_the_trait_is_still_there() {
        let code = expanded(quote!(
            trait Calc {
                #[quick]
                fn add(&mut self);
                #[event]
                fn done();
            }
        ));
        assert!(code.contains("trait Calc { fn add (& mut self) ; }") && code.contains("compile_error"), "{code}");
    }
}
