//! Finds a request's model and version in a protobuf message without decoding it.
//!
//! Both are text at the top level (fields 1 and 2); everything else is stepped over, tensors by their length. As in
//! protobuf, what stands last counts. Knows nothing of gRPC framing. Called by [`super::first`].

/// Field numbers of the two names in every message that has them.
const MODEL: u64 = 1;
const VERSION: u64 = 2;
/// Most fields looked at; a message of more is taken by the names it had until then. Clients send a few for each
/// tensor, and the worker checks what it decodes.
const MAX_FIELDS: usize = 100_000;

/// The names at the top of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Fields {
    /// The model; empty when there is none.
    pub(in crate::proxy) model: String,
    /// The version or label; empty when there is none.
    pub(in crate::proxy) version: String,
    /// Whether nothing that follows is expected to change them: the message is over, or the model was followed by a
    /// field of a higher number, which encoders write in order.
    pub(in crate::proxy) settled: bool,
}

/// Bytes that are no protobuf message with text in the fields of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Malformed;

/// Reads names from the beginning of a message, `whole` when nothing follows.
pub(in crate::proxy) fn scan(message: &[u8], whole: bool) -> Result<Fields, Malformed> {
    let mut found = Fields::default();
    let mut rest = Rest(message);
    for _ in 0..MAX_FIELDS {
        if rest.0.is_empty() {
            found.settled |= whole;
            return Ok(found);
        }
        match step(&mut rest, &mut found, whole) {
            Ok(()) if found.settled => return Ok(found),
            Ok(()) => {}
            Err(Stop::Short) if !whole => return Ok(found),
            Err(_) => return Err(Malformed),
        }
    }
    found.settled = true;
    Ok(found)
}

/// Takes one field.
fn step(rest: &mut Rest<'_>, found: &mut Fields, whole: bool) -> Result<(), Stop> {
    let (number, kind) = rest.key()?;
    if !whole && number > VERSION && !found.model.is_empty() {
        // Told by its key: a tensor's bytes need not be here for it.
        found.settled = true;
        return Ok(());
    }
    let value = rest.value(kind)?;
    match number {
        MODEL => found.model = text(value)?,
        VERSION => found.version = text(value)?,
        _ => {}
    }
    Ok(())
}

fn text(value: Option<&[u8]>) -> Result<String, Stop> {
    let bytes = value.ok_or(Stop::Wrong)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Stop::Wrong)
}

enum Stop {
    /// The bytes end within a field.
    Short,
    /// No message begins like this.
    Wrong,
}

/// What is left of a message.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Takes a field's key: its number and how its value is encoded.
    fn key(&mut self) -> Result<(u64, u64), Stop> {
        let key = self.varint()?;
        if key >> 3 == 0 { Err(Stop::Wrong) } else { Ok((key >> 3, key & 7)) }
    }

    /// Takes a field's value; answers its bytes when it is delimited by a length.
    fn value(&mut self, kind: u64) -> Result<Option<&'a [u8]>, Stop> {
        match kind {
            0 => self.varint().map(|_| None),
            1 => self.take(8).map(|_| None),
            2 => {
                let length = self.varint()?;
                self.take(length).map(Some)
            }
            5 => self.take(4).map(|_| None),
            // Groups: no message of this protocol has them.
            _ => Err(Stop::Wrong),
        }
    }

    fn varint(&mut self) -> Result<u64, Stop> {
        let mut value = 0_u64;
        for (index, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f).checked_shl(7 * index as u32).unwrap_or(0);
            if byte < 0x80 {
                self.0 = self.0.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { Stop::Short } else { Stop::Wrong })
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Stop> {
        let count = usize::try_from(count).map_err(|_| Stop::Wrong)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use weir_protocol::grpc::ModelInferRequest;

    use super::*;

    fn request(model: &str, version: &str) -> ModelInferRequest {
        ModelInferRequest {
            model_name: model.to_owned(),
            model_version: version.to_owned(),
            id: "i".to_owned(),
            raw_input_contents: vec![vec![7; 100_000].into(), vec![8; 3].into()],
            ..Default::default()
        }
    }

    fn names(message: &[u8], whole: bool) -> (String, String, bool) {
        let found = scan(message, whole).unwrap();
        (found.model, found.version, found.settled)
    }

    fn of(model: &str, version: &str, settled: bool) -> (String, String, bool) {
        (model.to_owned(), version.to_owned(), settled)
    }

    #[test]
    fn names_are_found_first_last_and_twice() {
        let first = request("digits", "2").encode_to_vec();
        assert_eq!(names(&first, true), of("digits", "2", true));
        let mut last = request("", "").encode_to_vec();
        last.extend(ModelInferRequest { model_name: "late".into(), ..Default::default() }.encode_to_vec());
        assert_eq!(names(&last, true), of("late", "", true));
        let twice = [first, request("other", "").encode_to_vec()].concat();
        assert_eq!(names(&twice, true), of("other", "2", true), "the last one counts, as for the worker");
        assert_eq!(names(&[], true), of("", "", true));
    }

    #[test]
    fn a_prefix_settles_once_a_higher_field_follows_the_name() {
        let message = request("digits", "2").encode_to_vec();
        let settled = (0..message.len()).find(|&end| names(&message[..end], false).2).unwrap();
        assert!(settled < 30, "only after {settled} bytes");
        assert_eq!(names(&message[..settled], false), of("digits", "2", true));
        let tensor = ModelInferRequest { id: String::new(), ..request("digits", "2") }.encode_to_vec();
        assert!(names(&tensor[..20], false).2, "the tensor's key is enough");
        assert_eq!(names(&message[..5], false), of("", "", false), "within the name");
        let unnamed = request("", "").encode_to_vec();
        assert_eq!(names(&unnamed[..5_000], false), of("", "", false), "the name may still come");
    }

    #[test]
    fn what_is_no_message_is_malformed_and_nothing_panics() {
        for bytes in [&[0x0b][..], &[0x00, 0x01], &[0x08, 0x01], &[0x0a, 0x01, 0xff], &[0xff; 11]] {
            assert_eq!(scan(bytes, true), Err(Malformed), "{bytes:?}");
        }
        for bytes in [&[0x0a][..], &[0x0a, 0x05, b'a'], &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x1d, 0]] {
            assert_eq!(scan(bytes, true), Err(Malformed), "{bytes:?}: cut off");
            assert!(scan(bytes, false).is_ok_and(|found| !found.settled), "{bytes:?}: goes on");
        }
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .take(24)
            .collect();
            _ = scan(&bytes, true);
            _ = scan(&bytes, false);
        }
    }

    #[test]
    fn a_message_of_countless_fields_is_not_read_to_its_end() {
        let endless = [0x18, 0x00].repeat(MAX_FIELDS + 1);
        assert_eq!(names(&endless, true), of("", "", true));
    }
}
