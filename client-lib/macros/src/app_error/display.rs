//! The sentences of an error.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, LitStr};

use super::variant::Variant;
use crate::text::Mistakes;

/// `Display` and `Error`, if the variants have texts. Without any, that is left to the user.
pub(super) fn write(ident: &Ident, variants: &[Variant], mistakes: &mut Mistakes) -> TokenStream {
    if variants.iter().all(|variant| variant.text.is_none()) {
        return TokenStream::new();
    }
    let mut arms = Vec::new();
    for variant in variants {
        let Some(text) = &variant.text else {
            mistakes
                .add_at(&variant.name, &format!("`{}` has no `#[text = \"…\"]`, and others have one", variant.name));
            continue;
        };
        let (pattern, text) = (variant.pattern(), with_names(text));
        arms.push(quote!(#pattern => ::core::write!(f, #text)));
    }
    quote! {
        impl ::core::fmt::Display for #ident {
            #[allow(unused_variables)]
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self { #(#arms),* }
            }
        }
        impl ::core::error::Error for #ident {}
    }
}

/// A format string whose places have names: `{0:?}` becomes `{field_0:?}`.
fn with_names(text: &LitStr) -> LitStr {
    let mut named = String::new();
    let value = text.value();
    let mut rest = value.as_str();
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at + 1);
        named.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('{') {
            named.push('{');
            rest = after;
        } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
            named.push_str("field_");
        }
    }
    named.push_str(rest);
    LitStr::new(&named, text.span())
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;

    use super::*;

    #[test]
    fn places_get_names_and_braces_stay() {
        let named = |text| with_names(&LitStr::new(text, Span::call_site())).value();
        assert_eq!(named("{0:?} and {1}"), "{field_0:?} and {field_1}");
        assert_eq!(named("{{0}} {name} {{{0}}}"), "{{0}} {name} {{{field_0}}}");
    }
}
