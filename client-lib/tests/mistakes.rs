//! What the compiler says about a mistaken trait or error: where it is, and what to do.
//!
//! `TRYBUILD=overwrite cargo test -p ipc-client --test mistakes` writes the expected output anew; with `--features tokio` that of
//! traits with async methods.
#![forbid(unsafe_code)]

#[test]
fn a_mistake_is_an_error_at_the_line_that_has_it() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/mistakes/*.rs");
    cases.compile_fail(if cfg!(feature = "tokio") {
        "tests/mistakes/async/*.rs"
    } else {
        "tests/mistakes/blocking/*.rs"
    });
}
