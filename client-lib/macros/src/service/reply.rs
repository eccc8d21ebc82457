//! What a method returns: a value, an error, a stream.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{GenericArgument, PathArguments, Result, ReturnType, Type, TypeParamBound, parse_quote, spanned::Spanned};

use crate::text::{arguments_of, wrong};

/// What a method returns.
pub(super) struct Reply {
    /// The reply; `()` behind a stream.
    pub(super) ty: Type,
    /// The method's own error, if it has one.
    pub(super) error: Option<Type>,
    /// Whether the method returns a `Result`.
    pub(super) is_fallible: bool,
    /// A stream.
    pub(super) gives: Option<Given>,
}

/// A stream of the service.
pub(super) struct Given {
    pub(super) item: Type,
    /// Whether it yields results, of which an error ends the call.
    pub(super) is_fallible: bool,
}

impl Reply {
    /// # Errors
    /// For what can't be sent.
    pub(super) fn read(output: &ReturnType) -> Result<Self> {
        let unit = || parse_quote!(());
        let ReturnType::Type(_, output) = output else {
            return Ok(Self { ty: unit(), error: None, is_fallible: false, gives: None });
        };
        let result = result_of(output)?;
        let is_fallible = result.is_some();
        let (ty, error) = result.unwrap_or_else(|| ((**output).clone(), None));
        let Type::ImplTrait(stream) = &ty else {
            return Ok(Self { ty, error, is_fallible, gives: None });
        };
        let item = stream
            .bounds
            .iter()
            .find_map(item_of)
            .ok_or_else(|| wrong(stream, "a method returns a type, or a stream: `impl Iterator<Item = T>`"))?;
        let (item, of_item, is_item_fallible) = match result_of(&item)? {
            Some((item, error)) => (item, error, true),
            None => (item, None, false),
        };
        let gives = Some(Given { item, is_fallible: is_item_fallible });
        Ok(Self { ty: unit(), error: error.or(of_item), is_fallible, gives })
    }
}

/// Value and error of a `Result`; of one whose error is `Failed<E>`, that is `E`.
fn result_of(ty: &Type) -> Result<Option<(Type, Option<Type>)>> {
    let Some(arguments) = arguments_of(ty, "Result") else { return Ok(None) };
    let [value, error] = &*arguments else {
        return Err(wrong(ty, "which error? A method that may say no returns `Result<T, E>`, of an `E: AppError`"));
    };
    let error = match arguments_of(error, "Failed").as_deref() {
        None => Some(error.clone()),
        Some([own]) => Some(own.clone()),
        Some(_) => None, // no error of its own, as `Failed` is by default
    };
    Ok(Some((value.clone(), error)))
}

/// `T` of `Iterator<Item = T>`.
fn item_of(bound: &TypeParamBound) -> Option<Type> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    let last = bound.path.segments.last().filter(|last| last.ident == "Iterator")?;
    let PathArguments::AngleBracketed(list) = &last.arguments else { return None };
    list.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(item) if item.ident == "Item" => Some(item.ty.clone()),
        _ => None,
    })
}

/// `?` where the error is written, so that one of the wrong type is told there.
pub(super) fn passed_on(error: Option<&Type>) -> TokenStream {
    let span = error.map_or_else(Span::call_site, |error| error.span().resolved_at(Span::call_site()));
    quote_spanned!(span=> ?)
}

/// `E`, or `Infallible`.
pub(super) fn error_or_none(error: Option<&Type>) -> TokenStream {
    match error {
        Some(error) => error.to_token_stream(),
        None => quote!(::core::convert::Infallible),
    }
}
