//! Finding fields of a policy that are not known. prost passes them over, and what is passed over may be the condition
//! that made an ALLOW rule narrow, or the only one of a DENY rule.

use std::ops::RangeInclusive;

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::invalid::Invalid;

/// A message's fields: their tags, and the messages among them.
struct Shape {
    name: &'static str,
    tags: RangeInclusive<u32>,
    messages: &'static [(u32, &'static Shape)],
}

const AUTHORIZATION: Shape = Shape {
    name: "a policy",
    tags: 1..=6,
    messages: &[(5, &GROUP)],
};
const GROUP: Shape = Shape {
    name: "a group",
    tags: 1..=1,
    messages: &[(1, &RULES)],
};
const RULES: Shape = Shape {
    name: "rules",
    tags: 2..=2,
    messages: &[(2, &MATCH)],
};
const MATCH: Shape = Shape {
    name: "a match",
    tags: 1..=12,
    messages: &[
        (1, &STRING),
        (2, &STRING),
        (3, &STRING),
        (4, &STRING),
        (5, &ADDRESS),
        (6, &ADDRESS),
        (7, &ADDRESS),
        (8, &ADDRESS),
        (11, &ACCOUNT),
        (12, &ACCOUNT),
    ],
};
const STRING: Shape = Shape {
    name: "a condition on a string",
    tags: 1..=4,
    messages: &[],
};
const ADDRESS: Shape = Shape {
    name: "a range of addresses",
    tags: 1..=2,
    messages: &[],
};
const ACCOUNT: Shape = Shape {
    name: "a condition on a service account",
    tags: 1..=2,
    messages: &[],
};

/// Looks for fields that [`adit_proto::security::Authorization`] does not have. The bytes have been decoded as one.
///
/// # Errors
/// The first such field.
pub(super) fn check_authorization(bytes: &[u8]) -> Result<(), Invalid> {
    check(bytes, &AUTHORIZATION)
}

fn check(mut bytes: &[u8], shape: &Shape) -> Result<(), Invalid> {
    while bytes.has_remaining() {
        let (tag, kind) = decode_key(&mut bytes).map_err(Invalid::new)?;
        if !shape.tags.contains(&tag) {
            return Err(Invalid::new(format_args!(
                "{} has a field (tag {tag}) that is not known here, and could make it narrower: \
                 the control plane is newer than this tunnel",
                shape.name
            )));
        }
        let message = shape.messages.iter().find(|(own, _)| *own == tag);
        match message {
            Some((_, inner)) if kind == WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map_err(Invalid::new)?;
                let length = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= bytes.len());
                let (message, rest) = bytes.split_at(length.ok_or_else(|| Invalid::new("it is cut off"))?);
                check(message, inner)?;
                bytes = rest;
            }
            _ => skip_field(kind, tag, &mut bytes, DecodeContext::default()).map_err(Invalid::new)?,
        }
    }
    Ok(())
}
