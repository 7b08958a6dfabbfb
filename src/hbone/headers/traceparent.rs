//! `traceparent`: `00-<trace id>-<span id>-<flags>` (W3C Trace Context, level 1).

use std::fmt;

use super::InvalidHeader;

const NAME: &str = super::TRACEPARENT;
const LENGTH: usize = 55;

/// The place of a connection in a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Traceparent {
    /// The trace, not 0.
    pub trace: u128,
    /// The span, not 0.
    pub span: u64,
    /// Bit 0: sampled.
    pub flags: u8,
}

/// The flag of a trace that is sampled.
const SAMPLED: u8 = 1;

impl Traceparent {
    /// A new trace, not sampled.
    pub fn fresh(random: &mut fastrand::Rng) -> Self {
        Self {
            trace: random.u128(1..),
            span: random.u64(1..),
            flags: 0,
        }
    }

    /// The same place, in a trace that is sampled.
    #[must_use]
    pub fn sampled(self) -> Self {
        Self {
            flags: self.flags | SAMPLED,
            ..self
        }
    }

    /// Whether whoever sent it samples the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Reads a header value. Later versions are read as this one, as the specification asks.
    ///
    /// # Errors
    /// Any other shape: upper case, zero ids, wrong lengths.
    pub fn parse(text: &str) -> Result<Self, InvalidHeader> {
        let malformed = |what| InvalidHeader::Malformed { name: NAME, what };
        let bytes = text.as_bytes();
        let (Some(head), true) = (bytes.get(..LENGTH), text.is_ascii()) else {
            return Err(malformed("shorter than 55 characters"));
        };
        let version = hex(&head[..2]).ok_or(malformed("the version is not hexadecimal"))?;
        let longer = bytes.len() > LENGTH;
        if version == 0xff || (longer && (version == 0 || bytes[LENGTH] != b'-')) {
            return Err(malformed("not of a known version"));
        }
        if head[2] != b'-' || head[35] != b'-' || head[52] != b'-' {
            return Err(malformed("the parts are not at their places"));
        }
        let part = |range| hex(&head[range]).ok_or(malformed("a part is not lower-case hexadecimal"));
        let (trace, span, flags) = (part(3..35)?, part(36..52)?, part(53..55)?);
        if trace == 0 || span == 0 {
            return Err(malformed("an id is zero"));
        }
        // 16 and 2 digits fit by their length.
        Ok(Self {
            trace,
            span: span as u64,
            flags: flags as u8,
        })
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_specifications_example_reads_and_prints_the_same() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(Traceparent::parse(text).expect("valid").to_string(), text);
    }

    #[test]
    fn the_sampled_flag_is_one_bit_of_several() {
        let fresh = Traceparent::fresh(&mut fastrand::Rng::with_seed(1));
        assert!(!fresh.is_sampled() && fresh.sampled().is_sampled());
        let all = Traceparent { flags: 0xff, ..fresh };
        let others = Traceparent { flags: 0xfe, ..fresh };
        assert!(all.is_sampled() && !others.is_sampled());
        assert_eq!(others.sampled(), all);
    }

    #[test]
    fn refuses_other_shapes() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(Traceparent::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC{0,70}") {
            let _ = Traceparent::parse(&text);
        }

        #[test]
        fn a_fresh_one_reads_the_same(seed: u64) {
            let fresh = Traceparent::fresh(&mut fastrand::Rng::with_seed(seed));
            prop_assert_eq!(Traceparent::parse(&fresh.to_string()), Ok(fresh));
        }
    }
}
