//! What both sides of a typed method must agree on.

use ipc_protocol::Fingerprint;
use serde::de::DeserializeOwned;

use crate::{app_error::MethodError, method::Method, shape::Type, stream_method::StreamMethod};

/// The shapes of a method: of its request, its reply, its error, and of the items of its streams.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Contract {
    pub(crate) request: Option<Type>,
    pub(crate) reply: Option<Type>,
    pub(crate) error: Option<Type>,
    pub(crate) upload: Option<Type>,
    pub(crate) download: Option<Type>,
    pub(crate) is_streamed: bool,
    /// None if one of them can't be traced: then bincode goes unguarded.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl Contract {
    /// The contract of a method.
    pub(crate) fn of<M: Method>() -> Self {
        let contract = Self::new::<M, M::Reply, M::Error>();
        let fingerprint = contract.fingerprint(M::SERVICE, M::METHOD, [true, true, true, false, false]);
        Self { fingerprint, ..contract }
    }

    /// The contract of a method with streams.
    pub(crate) fn of_stream<M: StreamMethod>() -> Self {
        let contract = Self {
            upload: M::UPLOAD.then(Type::of::<M::In>).flatten(),
            download: M::DOWNLOAD.then(Type::of::<M::Out>).flatten(),
            is_streamed: true,
            ..Self::new::<M, M::Reply, M::Error>()
        };
        let fingerprint = contract.fingerprint(M::SERVICE, M::METHOD, [true, true, true, M::UPLOAD, M::DOWNLOAD]);
        Self { fingerprint, ..contract }
    }

    fn new<Q: DeserializeOwned, R: DeserializeOwned, E: MethodError>() -> Self {
        Self { request: Type::of::<Q>(), reply: Type::of::<R>(), error: E::shape(), ..Self::default() }
    }

    /// Of the names and shapes, each as JSON on a line of its own, in the order of the fields above; an empty line for one that the
    /// method doesn't have.
    fn fingerprint(&self, service: &str, method: &str, wanted: [bool; 5]) -> Option<Fingerprint> {
        let mut text = format!("{service}\n{method}\n");
        for (shape, is_wanted) in
            [&self.request, &self.reply, &self.error, &self.upload, &self.download].iter().zip(wanted)
        {
            if is_wanted {
                text.push_str(&serde_json::to_string(shape.as_ref()?).ok()?);
            }
            text.push('\n');
        }
        Some(Fingerprint::of(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde::{Deserialize, Serialize};

    use super::*;

    macro_rules! add {
        ($module:ident, $reply:ty, $($field:ident: $type:ty),*) => {
            mod $module {
                use super::*;
                #[derive(Serialize, Deserialize)]
                pub(super) struct Add { $($field: $type),* }
                impl Method for Add {
                    const SERVICE: &'static str = "calc";
                    const METHOD: &'static str = "add";
                    type Reply = $reply;
                    type Error = Infallible;
                }
            }
        };
    }
    add!(one, i64, a: i64, b: i64);
    add!(same, i64, a: i64, b: i64);
    add!(swapped, i64, b: i64, a: i64);
    add!(more, i64, a: i64, b: i64, c: i64);
    add!(narrow, i64, a: i64, b: i32);
    add!(other_reply, u64, a: i64, b: i64);

    #[test]
    fn builds_that_differ_in_anything_that_bincode_depends_on_have_other_fingerprints() {
        let of_one = Contract::of::<one::Add>().fingerprint.expect("it can be traced");
        assert_eq!(Contract::of::<same::Add>().fingerprint, Some(of_one));
        for other in [
            Contract::of::<swapped::Add>().fingerprint,
            Contract::of::<more::Add>().fingerprint,
            Contract::of::<narrow::Add>().fingerprint,
            Contract::of::<other_reply::Add>().fingerprint,
        ] {
            assert_ne!(other.expect("it can be traced"), of_one);
        }
    }

    #[test]
    fn a_fingerprint_never_changes() {
        // Two programs that were built with releases of this library years apart must find the same.
        assert_eq!(Contract::of::<one::Add>().fingerprint.unwrap().to_string(), "4640979813ae180a");
    }
}
