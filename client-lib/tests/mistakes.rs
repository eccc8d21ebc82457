//! What the compiler says about a mistaken trait or error: where it is, and what to do.
//!
//! `TRYBUILD=overwrite cargo test -p ipc-client --test mistakes` writes the expected output anew.
#![forbid(unsafe_code)]

#[cfg(not(feature = "tokio"))] // with it, a trait may have async methods
#[test]
fn a_mistake_is_an_error_at_the_line_that_has_it() {
    trybuild::TestCases::new().compile_fail("tests/mistakes/*.rs");
}
