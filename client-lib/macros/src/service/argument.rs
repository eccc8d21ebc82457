//! Arguments: what the caller has, what travels, and what the method is given.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Ident, Lifetime, Result, Type, TypeReference};

use super::by::By;
use crate::text::{arguments_of, wrong};

/// A field of a request.
pub(super) struct Argument {
    pub(super) name: Ident,
    /// As the trait has it.
    pub(super) ty: Type,
    passing: Passing,
}

/// How a method is given the field.
enum Passing {
    Value,
    /// `&T`, of the type that owns it.
    Reference(Owned),
    /// `Option<&T>`.
    Optional(Owned),
}

/// What owns that which an argument borrows.
enum Owned {
    Text,
    Bytes,
    Slice(Type),
    Value(Type),
}

impl Argument {
    pub(super) fn is_borrowed(&self) -> bool {
        !matches!(self.passing, Passing::Value)
    }

    /// The type of the field in a request that owns it.
    pub(super) fn owned(&self) -> TokenStream {
        match &self.passing {
            Passing::Value => self.ty.to_token_stream(),
            Passing::Reference(owned) => owned.ty(),
            Passing::Optional(owned) => {
                let owned = owned.ty();
                quote!(::core::option::Option<#owned>)
            }
        }
    }

    /// The field of a request that borrows it for `'a`.
    pub(super) fn borrowed_field(&self) -> TokenStream {
        let Self { name, ty, .. } = self;
        let ty = living(ty);
        match &self.passing {
            Passing::Reference(Owned::Bytes) => {
                quote!(#[serde(serialize_with = "::ipc_client::generated::bytes")] #name: #ty)
            }
            Passing::Value | Passing::Reference(_) | Passing::Optional(_) => quote!(#name: #ty),
        }
    }

    /// What the method is given, of a variable that owns it.
    pub(super) fn passed(&self) -> TokenStream {
        let name = &self.name;
        match &self.passing {
            Passing::Value => quote!(#name),
            Passing::Reference(_) => quote!(&#name),
            Passing::Optional(Owned::Value(_)) => quote!(#name.as_ref()),
            Passing::Optional(_) => quote!(#name.as_deref()),
        }
    }
}

impl Owned {
    fn of(borrowed: &TypeReference) -> Result<Self> {
        if let Some(lifetime) = &borrowed.lifetime {
            return Err(wrong(lifetime, "an argument is borrowed for the call: leave the lifetime out"));
        }
        if let Some(mutability) = &borrowed.mutability {
            return Err(wrong(mutability, "an argument is sent, so it can't be changed for the caller"));
        }
        Ok(match &*borrowed.elem {
            Type::Path(path) if path.path.is_ident("str") => Self::Text,
            Type::Slice(slice) if is_byte(&slice.elem) => Self::Bytes,
            Type::Slice(slice) => Self::Slice(plain(&slice.elem)?),
            other => Self::Value(plain(other)?),
        })
    }

    fn ty(&self) -> TokenStream {
        match self {
            Self::Text => quote!(::std::string::String),
            Self::Bytes => quote!(::ipc_client::generated::Bytes),
            Self::Slice(item) => quote!(::std::vec::Vec<#item>),
            Self::Value(ty) => ty.to_token_stream(),
        }
    }
}

/// # Errors
/// For a type that can't travel.
pub(super) fn argument_of(name: Ident, ty: &Type) -> Result<Argument> {
    let passing = match (ty, arguments_of(ty, "Option").as_deref()) {
        (Type::Reference(borrowed), _) => Passing::Reference(Owned::of(borrowed)?),
        (_, Some([Type::Reference(borrowed)])) => Passing::Optional(Owned::of(borrowed)?),
        _ => {
            plain(ty)?;
            Passing::Value
        }
    };
    Ok(Argument { name, ty: ty.clone(), passing })
}

/// Whose context it is: `&Context` or `&AsyncContext`, of whatever path.
pub(super) fn context_of(ty: &Type) -> Option<By> {
    let Type::Reference(TypeReference { mutability: None, elem, .. }) = ty else { return None };
    let Type::Path(path) = &**elem else { return None };
    let name = &path.path.segments.last()?.ident;
    [By::Threads, By::Futures].into_iter().find(|by| name == &by.name("Context"))
}

fn is_byte(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("u8"))
}

/// A type that borrows nothing.
fn plain(ty: &Type) -> Result<Type> {
    match ty {
        Type::ImplTrait(_) => Err(wrong(ty, "an argument is of one type")),
        ty if borrows(ty.to_token_stream()) => {
            Err(wrong(ty, "an argument borrows as `&str`, `&[T]`, `&T` or an `Option` of these, and in no other way"))
        }
        ty => Ok(ty.clone()),
    }
}

fn borrows(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Punct(punct) => matches!(punct.as_char(), '&' | '\''),
        TokenTree::Group(group) => borrows(group.stream()),
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    })
}

/// `&T` as `&'a T`, also in an `Option`.
fn living(ty: &Type) -> TokenStream {
    let named = |borrowed: &TypeReference| {
        let lifetime = Lifetime::new("'a", borrowed.and_token.span);
        Type::Reference(TypeReference { lifetime: Some(lifetime), ..borrowed.clone() })
    };
    match (ty, arguments_of(ty, "Option").as_deref()) {
        (Type::Reference(borrowed), _) => named(borrowed).into_token_stream(),
        (_, Some([Type::Reference(borrowed)])) => {
            let borrowed = named(borrowed);
            quote!(::core::option::Option<#borrowed>)
        }
        _ => ty.to_token_stream(),
    }
}
