//! Extension fields behind the header (RFC 7822): type, length, body; lengths count the four bytes of type and length
//! and are multiples of four.

/// Bytes of type and length.
const HEAD: usize = 4;

/// One extension field of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) kind: u16,
    pub(crate) body: &'a [u8],
}

/// What stands where a field should, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Splits the first field off; `Ok(None)` at the end. The second part is what follows it.
pub(crate) fn split(bytes: &[u8]) -> Result<Option<(Field<'_>, &[u8])>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let Some((&[kind, kind_low, length, length_low], _)) = bytes.split_first_chunk::<HEAD>() else {
        return Err(Malformed);
    };
    let length = usize::from(u16::from_be_bytes([length, length_low]));
    if !length.is_multiple_of(4) {
        return Err(Malformed);
    }
    let body = bytes.get(HEAD..length).ok_or(Malformed)?;
    let rest = bytes.get(length..).ok_or(Malformed)?;
    Ok(Some((Field { kind: u16::from_be_bytes([kind, kind_low]), body }, rest)))
}

/// Appends a field whose body is `body` and then zeros up to the next multiple of four.
pub(crate) fn push(datagram: &mut Vec<u8>, kind: u16, body: &[u8]) {
    let padded = body.len().next_multiple_of(4);
    // Whoever calls has bodies that fit into a datagram.
    let length = (HEAD + padded) as u16;
    datagram.extend(kind.to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend(body);
    datagram.resize(datagram.len() + padded - body.len(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_undoes_pushing() {
        let mut bytes = Vec::new();
        push(&mut bytes, 0x0104, &[7; 32]);
        push(&mut bytes, 0x0204, &[1, 2, 3]);
        push(&mut bytes, 0x0304, &[]);
        let (first, rest) = split(&bytes).unwrap().unwrap();
        assert_eq!(first, Field { kind: 0x0104, body: &[7; 32] });
        let (second, rest) = split(rest).unwrap().unwrap();
        assert_eq!(second, Field { kind: 0x0204, body: &[1, 2, 3, 0] });
        let (third, rest) = split(rest).unwrap().unwrap();
        assert_eq!((third, split(rest)), (Field { kind: 0x0304, body: &[] }, Ok(None)));
    }

    #[test]
    fn a_length_that_lies_is_malformed() {
        for bytes in [
            &[1][..],
            &[1, 2, 3],
            &[1, 2, 0, 0],
            &[1, 2, 0, 3],
            &[1, 2, 0, 5, 0, 0, 0, 0],
            &[1, 2, 0, 8, 0, 0, 0],
            &[1, 2, 0xff, 0xfc],
        ] {
            assert_eq!(split(bytes), Err(Malformed), "{bytes:?}");
        }
    }
}
