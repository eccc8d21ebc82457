//! What a function of the trait says.

use quote::format_ident;
use syn::{
    Attribute, FnArg, Ident, LitStr, Pat, PatType, ReceiverKind, Result, ReturnType, TraitItemFn, Type, ext::IdentExt,
};

use super::{
    argument::{Argument, argument_of, context_of},
    by::By,
    reply::Reply,
};
use crate::text::{arguments_of, camel, of_docs, string_of, wrong, wrong_with_method, wrong_with_name};

/// A function that is called.
pub(super) struct Method {
    pub(super) ident: Ident,
    /// As callers name it.
    pub(super) name: LitStr,
    /// The type of its request.
    pub(super) request: Ident,
    pub(super) docs: Vec<Attribute>,
    /// When it is there at all.
    pub(super) cfgs: Vec<Attribute>,
    pub(super) text: String,
    pub(super) manner: Manner,
    pub(super) is_async: bool,
    /// Behind `&self`, in their order.
    pub(super) parameters: Vec<Parameter>,
    pub(super) reply: Reply,
}

/// How it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Pooled,
    /// By what reads.
    Quick,
    /// As the one or the other, and its caller waits for nothing.
    OneWay {
        is_quick: bool,
    },
}

/// What a method is given.
pub(super) enum Parameter {
    Context,
    /// A field of the request.
    Field(Box<Argument>),
    /// The stream of the caller, with the name and the type of its items.
    Items(Ident, Type),
    /// The stream of the service.
    Sink(Type),
}

/// A function that stands for an event.
pub(super) struct Event {
    pub(super) topic: LitStr,
    /// The type of the event.
    pub(super) ident: Ident,
    pub(super) docs: Vec<Attribute>,
    pub(super) cfgs: Vec<Attribute>,
    pub(super) text: String,
    pub(super) fields: Vec<Argument>,
}

impl Method {
    /// Reads a function, and takes the attributes out of it that only the macro knows.
    ///
    /// # Errors
    /// For what can't be called.
    pub(super) fn read(function: &mut TraitItemFn, of: &Ident, by: By) -> Result<Self> {
        let marks = Marks::take(function)?;
        let signature = &function.sig;
        if let Some(asyncness) = &signature.asyncness
            && let Some(text) = marks.refuses_async()
        {
            return Err(wrong(asyncness, text));
        }
        if let Some(generic) = signature.generics.params.first() {
            return Err(wrong(generic, "a method has no parameters of types or lifetimes: its request is one type"));
        }
        let mut inputs = signature.inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(receiver)) if is_shared(&receiver.kind) => {}
            Some(FnArg::Receiver(receiver)) => {
                return Err(wrong(receiver, "a method takes `&self`: many calls run at once"));
            }
            _ => return Err(wrong(&signature.ident, "a method takes `&self`; what is published is an `#[event]`")),
        }
        refuse_own_name(&signature.ident)?;
        let mut parameters = Vec::new();
        for (at, input) in inputs.enumerate() {
            parameters.push(Parameter::read(input, at, by)?);
        }
        let reply = Reply::read(&signature.output)?;
        let name = marks.name.clone().unwrap_or_else(|| name_of(&signature.ident));
        if let Some(text) = wrong_with_method(&name.value()) {
            return Err(syn::Error::new(
                name.span(),
                format!("not a valid name of a method: {text}; another one is `#[name = \"…\"]`"),
            ));
        }
        let method = Self {
            request: request_of(of, &signature.ident),
            ident: signature.ident.clone(),
            name,
            docs: of_name(&function.attrs, "doc"),
            cfgs: of_name(&function.attrs, "cfg"),
            text: of_docs(&function.attrs),
            manner: marks.manner(),
            is_async: signature.asyncness.is_some(),
            parameters,
            reply,
        };
        method.check(&signature.output, function, by)?;
        Ok(method)
    }

    /// Refuses what is fine by itself and means nothing together.
    fn check(&self, output: &ReturnType, function: &TraitItemFn, by: By) -> Result<()> {
        let count = |is: fn(&Parameter) -> bool| self.parameters.iter().filter(|parameter| is(parameter)).count();
        let items = count(|parameter| matches!(parameter, Parameter::Items(..)));
        let sinks =
            count(|parameter| matches!(parameter, Parameter::Sink(_))) + usize::from(self.reply.gives.is_some());
        if items > 1 || sinks > 1 {
            return Err(wrong(&function.sig.ident, "a call has one stream in each direction"));
        }
        if matches!(self.manner, Manner::OneWay { .. }) && !matches!(output, ReturnType::Default) {
            return Err(wrong(output, "a `#[one_way]` method returns nothing: its caller waits for nothing"));
        }
        if by == By::Futures && self.reply.gives.is_some() {
            return Err(wrong(output, "a trait with `async fn` sends its items to an argument `out: AsyncSink<T>`"));
        }
        if self.manner != Manner::Pooled && items + sinks > 0 {
            return Err(wrong(&function.sig.ident, "a method with streams is neither `#[quick]` nor `#[one_way]`"));
        }
        Ok(())
    }

    /// The fields of the request.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Argument> {
        self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Field(argument) => Some(&**argument),
            Parameter::Context | Parameter::Items(..) | Parameter::Sink(_) => None,
        })
    }

    /// Name and type of the items of the caller.
    pub(super) fn items(&self) -> Option<(&Ident, &Type)> {
        self.parameters.iter().find_map(|parameter| match parameter {
            Parameter::Items(name, item) => Some((name, item)),
            Parameter::Context | Parameter::Field(_) | Parameter::Sink(_) => None,
        })
    }

    /// The type of the items of the service.
    pub(super) fn gives(&self) -> Option<&Type> {
        let sink = self.parameters.iter().find_map(|parameter| match parameter {
            Parameter::Sink(item) => Some(item),
            Parameter::Context | Parameter::Field(_) | Parameter::Items(..) => None,
        });
        sink.or_else(|| self.reply.gives.as_ref().map(|given| &given.item))
    }

    /// What the service is told of it by.
    pub(super) fn verb(&self) -> Ident {
        match self {
            streamed if streamed.is_streamed() => format_ident!("stream"),
            quick if quick.is_quick() => format_ident!("quick"),
            _ => format_ident!("method"),
        }
    }

    /// Whether what reads the connection answers it, too.
    pub(super) fn is_quick(&self) -> bool {
        matches!(self.manner, Manner::Quick | Manner::OneWay { is_quick: true })
    }

    pub(super) fn is_streamed(&self) -> bool {
        self.items().is_some() || self.gives().is_some()
    }

    /// The type of a request that borrows, if this one does.
    pub(super) fn twin(&self) -> Option<Ident> {
        self.fields().any(Argument::is_borrowed).then(|| format_ident!("{}Ref", self.request))
    }
}

impl Parameter {
    fn read(input: &FnArg, at: usize, by: By) -> Result<Self> {
        let FnArg::Typed(PatType { pat, ty, .. }) = input else {
            return Err(wrong(input, "`self` comes first"));
        };
        if let Some(of) = context_of(ty) {
            refuse_other(ty, of, by, "&", "Context")?;
            let text = "the context comes first, behind `&self`";
            return if at == 0 { Ok(Self::Context) } else { Err(wrong(ty, text)) };
        }
        let name = field_name(pat)?;
        if let Some((of, item)) = stream_of(ty, "Items") {
            refuse_other(ty, of, by, "", "Items<T>")?;
            return Ok(Self::Items(name, item));
        }
        if let Some((of, item)) = stream_of(ty, "Sink") {
            refuse_other(ty, of, by, "", "Sink<T>")?;
            return Ok(Self::Sink(item));
        }
        if matches!(**ty, Type::ImplTrait(_)) {
            let text = format!("an argument is of one type; a stream of the caller is `{}`", by.name("Items<T>"));
            return Err(wrong(ty, &text));
        }
        Ok(Self::Field(Box::new(argument_of(name, ty)?)))
    }
}

impl Event {
    /// Whether a function is one.
    pub(super) fn is_one(function: &TraitItemFn) -> bool {
        function.attrs.iter().any(|attribute| attribute.path().is_ident("event"))
    }

    /// # Errors
    /// For what can't be published.
    pub(super) fn read(function: &TraitItemFn, of: &Ident, service: &LitStr) -> Result<Self> {
        let signature = &function.sig;
        if !matches!(signature.output, ReturnType::Default) {
            return Err(wrong(&signature.output, "an event returns nothing"));
        }
        if let Some(block) = &function.default {
            return Err(wrong(block, "an event has no body: it is published by `publish` of its type"));
        }
        let mut topic = None;
        for attribute in &function.attrs {
            match attribute.path().get_ident().map(Ident::to_string).as_deref() {
                Some("event") if attribute.meta.require_path_only().is_ok() => {}
                Some("event") => attribute.parse_nested_meta(|argument| {
                    if !argument.path.is_ident("topic") {
                        return Err(argument.error("only `topic` is known here"));
                    }
                    topic = Some(argument.value()?.parse::<LitStr>()?);
                    Ok(())
                })?,
                Some("doc" | "cfg") => {}
                _ => return Err(wrong(attribute, "an event has no other attributes")),
            }
        }
        let own = || LitStr::new(&format!("{}.{}", service.value(), signature.ident.unraw()), signature.ident.span());
        let topic = topic.unwrap_or_else(own);
        if let Some(text) = wrong_with_name(&topic.value()) {
            return Err(syn::Error::new(topic.span(), format!("not a valid topic: {text}")));
        }
        let fields = signature.inputs.iter().map(|input| match input {
            FnArg::Typed(PatType { pat, ty, .. }) => argument_of(field_name(pat)?, ty),
            FnArg::Receiver(receiver) => {
                Err(wrong(receiver, "an event has no `self`: its arguments are what it tells"))
            }
        });
        Ok(Self {
            ident: request_of(of, &signature.ident),
            topic,
            docs: of_name(&function.attrs, "doc"),
            cfgs: of_name(&function.attrs, "cfg"),
            text: of_docs(&function.attrs),
            fields: fields.collect::<Result<_>>()?,
        })
    }
}

/// The attributes of a method that only the macro knows.
#[derive(Default)]
struct Marks {
    name: Option<LitStr>,
    is_quick: bool,
    is_one_way: bool,
}

impl Marks {
    fn take(function: &mut TraitItemFn) -> Result<Self> {
        let mut marks = Self::default();
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut function.attrs)
            .into_iter()
            .partition(|attribute| ["quick", "one_way", "name"].iter().any(|mark| attribute.path().is_ident(mark)));
        function.attrs = others;
        for attribute in &mine {
            if attribute.path().is_ident("name") {
                marks.name = Some(string_of(attribute)?);
                continue;
            }
            attribute.meta.require_path_only()?;
            let is_set = if attribute.path().is_ident("quick") { &mut marks.is_quick } else { &mut marks.is_one_way };
            *is_set = true;
        }
        Ok(marks)
    }

    /// Why a method with these marks can't be async, if it can't.
    fn refuses_async(&self) -> Option<&'static str> {
        if !cfg!(feature = "tokio") {
            return Some(
                "an async method wants the feature `tokio` of ipc-client: without it, threads answer the calls",
            );
        }
        self.is_quick
            .then_some("a `#[quick]` method is answered at once, and an async one may wait: leave one of the two out")
    }

    fn manner(&self) -> Manner {
        match self {
            Self { is_one_way: true, is_quick, .. } => Manner::OneWay { is_quick: *is_quick },
            Self { is_quick: true, .. } => Manner::Quick,
            Self { .. } => Manner::Pooled,
        }
    }
}

/// Whose stream a type is, if it is `Items<T>` or `AsyncItems<T>`, and the type of its items.
fn stream_of(ty: &Type, name: &str) -> Option<(By, Type)> {
    [By::Threads, By::Futures].into_iter().find_map(|by| match &*arguments_of(ty, &by.name(name))? {
        [item] => Some((by, item.clone())),
        _ => None,
    })
}

/// What threads are given futures can't wait for, and the other way round.
fn refuse_other(ty: &Type, of: By, by: By, reference: &str, name: &str) -> Result<()> {
    if of == by {
        return Ok(());
    }
    Err(wrong(ty, &format!("a trait {} takes `{reference}{}` here", by.traits(), by.name(name))))
}

fn is_shared(kind: &ReceiverKind) -> bool {
    matches!(kind, ReceiverKind::Reference(_, None, None))
}

/// The argument's name, which callers in other languages write.
fn field_name(pattern: &Pat) -> Result<Ident> {
    match pattern {
        Pat::Ident(name) if name.by_ref.is_none() && name.mutability.is_none() && name.subpat.is_none() => {
            Ok(name.ident.clone())
        }
        other => Err(wrong(other, "an argument has a plain name, which is that of a field of the request")),
    }
}

/// The client has these itself, and the trait has the last one.
fn refuse_own_name(name: &Ident) -> Result<()> {
    let own = ["connect", "new", "named", "within", "remote", "into_service"];
    if own.iter().any(|own| name == own) {
        let text = format!(
            "the client or the service has a function `{name}` of its own: choose another name, and give it `#[name = \"{name}\"]`"
        );
        return Err(wrong(name, &text));
    }
    Ok(())
}

fn request_of(of: &Ident, function: &Ident) -> Ident {
    format_ident!("{}{}", of, camel(&function.unraw().to_string()), span = function.span())
}

fn name_of(function: &Ident) -> LitStr {
    LitStr::new(&function.unraw().to_string(), function.span())
}

fn of_name(attributes: &[Attribute], name: &str) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident(name)).cloned().collect()
}
