//! Errors with codes: `#[derive(AppError)]`.

mod display;
mod variant;

use std::collections::HashMap;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Ident, Result};

use self::variant::Variant;
use crate::text::Mistakes;

/// What the derive adds to an error.
///
/// # Errors
/// A code that is missing, given twice, or not from 1 to 63; a text that only some of the variants have.
pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let DeriveInput { attrs, ident, generics, data, .. } = syn::parse2(item)?;
    if let Some(generic) = generics.params.first() {
        return Err(syn::Error::new_spanned(generic, "an error of a service is one type, without parameters"));
    }
    let mut mistakes = Mistakes::default();
    let read: Vec<_> = match data {
        Data::Struct(data) => vec![Variant::read(None, &ident, &attrs, data.fields)],
        Data::Enum(data) => data
            .variants
            .into_iter()
            .map(|variant| Variant::read(Some(&variant.ident), &variant.ident, &variant.attrs, variant.fields))
            .collect(),
        Data::Union(_) => return Err(syn::Error::new_spanned(&ident, "an error of a service is an enum or a struct")),
    };
    let variants: Vec<Variant> = read.into_iter().filter_map(|variant| mistakes.keep(variant)).collect();
    refuse_duplicates(&variants, &mut mistakes);
    let nested = nested(&ident, &variants, &mut mistakes);
    let display = display::write(&ident, &variants, &mut mistakes);
    mistakes.into_result()?;
    let arms = variants.iter().map(|variant| {
        let (pattern, code) = (variant.any_pattern(), &variant.code);
        quote!(#pattern => #code)
    });
    let body = if variants.is_empty() { quote!(match *self {}) } else { quote!(match self { #(#arms),* }) };
    Ok(quote! {
        impl ::ipc_client::AppError for #ident {
            fn code(&self) -> u8 {
                #body
            }
        }
        #display
        #nested
    })
}

fn refuse_duplicates(variants: &[Variant], mistakes: &mut Mistakes) {
    let mut known = HashMap::new();
    for variant in variants {
        if let Some(other) = known.insert(variant.code.base10_digits().to_owned(), &variant.name) {
            mistakes.add_at(&variant.code, &format!("`{other}` has this code, too"));
        }
    }
}

/// `?` makes the nested variant of what a call of another service ended with.
fn nested(ident: &Ident, variants: &[Variant], mistakes: &mut Mistakes) -> TokenStream {
    let mut nested = variants.iter().filter(|variant| variant.is_nested);
    let Some(variant) = nested.next() else { return TokenStream::new() };
    if let Some(other) = nested.next() {
        mistakes.add_at(&other.name, "one variant is `#[nested]`");
    }
    let made = variant.of_text(mistakes);
    quote! {
        impl ::core::convert::From<::ipc_client::Error> for #ident {
            fn from(error: ::ipc_client::Error) -> Self {
                let text = ::std::string::ToString::to_string(&error);
                #made
            }
        }
        impl<E: ::core::fmt::Display> ::core::convert::From<::ipc_client::CallError<E>> for #ident {
            fn from(error: ::ipc_client::CallError<E>) -> Self {
                let text = ::std::string::ToString::to_string(&error);
                #made
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(item: TokenStream) -> String {
        expand(item)
            .expect_err("it is refused")
            .into_iter()
            .map(|error| error.to_string())
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn each_variant_has_its_code_and_its_text() {
        let code = expand(quote! {
            enum E {
                #[code = 2] #[text = "no {0}"] NoKey(String),
                #[code = 63] #[text = "over {limit}"] TooLong { limit: usize },
            }
        });
        let code = code.unwrap().to_string();
        for part in
            ["Self :: NoKey { .. } => 2", "Self :: TooLong { .. } => 63", "\"no {field_0}\"", "\"over {limit}\""]
        {
            assert!(code.contains(part), "{part}: {code}");
        }
    }

    #[test]
    fn a_code_is_given_once_to_each_from_1_to_63() {
        assert!(
            refusal(quote!(
                enum E {
                    A,
                }
            ))
            .contains("#[code = ")
        );
        assert!(
            refusal(quote!(
                enum E {
                    #[code = 0]
                    A,
                    #[code = 64]
                    B,
                }
            ))
            .matches("from 1 to 63")
            .count()
                == 2
        );
        assert!(
            refusal(quote!(
                enum E {
                    #[code = 2]
                    A,
                    #[code = 2]
                    B,
                }
            ))
            .contains("`A` has this code")
        );
    }

    #[test]
    fn texts_are_for_all_variants_or_for_none() {
        assert!(
            refusal(quote!(
                enum E {
                    #[code = 2]
                    #[text = "a"]
                    A,
                    #[code = 3]
                    B,
                }
            ))
            .contains("`B`")
        );
        assert!(
            !expand(quote!(
                enum E {
                    #[code = 2]
                    A,
                }
            ))
            .unwrap()
            .to_string()
            .contains("Display")
        );
    }
}
