//! What must be known of a WebAssembly module before it is instantiated.

use deno_core::{op2, v8};

/// What the first bytes of a module are: a magic number and a version.
const HEADER: usize = 8;

/// The number of the section that declares memories.
const MEMORIES: u8 = 5;

/// Flags of a declared memory. Each but the first leaves the form as it is.
const HAS_MAXIMUM: u8 = 1;
const SHARED: u8 = 2;
const MEMORY64: u8 = 4;

/// The sizes, in pages, that the memories begin with which a module has of its own; null for what is not a module.
#[op2]
#[serde]
pub(crate) fn op_wasm_memories(module: v8::Local<'_, v8::Value>) -> Option<Vec<u32>> {
    let module = module.try_cast::<v8::WasmModuleObject>().ok()?;
    let compiled = module.get_compiled_module();
    // V8 has found these bytes to be valid. What it understands and this does not is refused, for its size.
    Some(declared_memories(compiled.get_wire_bytes_ref()).unwrap_or_else(|| vec![u32::MAX]))
}

fn declared_memories(module: &[u8]) -> Option<Vec<u32>> {
    let mut rest = module.get(HEADER..)?;
    while let Some((section, after)) = rest.split_first() {
        let (length, content) = number(after)?;
        if *section == MEMORIES {
            return memories(content);
        }
        rest = content.get(usize::try_from(length).ok()?..)?;
    }
    Some(vec![])
}

/// The content of the section that declares memories.
fn memories(content: &[u8]) -> Option<Vec<u32>> {
    let (count, mut rest) = number(content)?;
    let mut sizes = vec![];
    for _ in 0..count {
        let (flags, after) = rest.split_first()?;
        if flags & !(HAS_MAXIMUM | SHARED | MEMORY64) != 0 {
            return None;
        }
        let (size, after) = number(after)?;
        sizes.push(u32::try_from(size).ok()?);
        rest = match flags & HAS_MAXIMUM {
            0 => after,
            _ => number(after)?.1,
        };
    }
    Some(sizes)
}

/// An unsigned number in LEB128, and what comes after it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(sections: &[&[u8]]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0", sections.concat().as_slice()].concat()
    }

    const CUSTOM: &[u8] = &[0, 3, 1, b'x', MEMORIES];
    const TYPES: &[u8] = &[1, 4, 1, 0x60, 0, 0];
    /// A number may be longer than it need be.
    const TYPES_AT_LENGTH: &[u8] = &[1, 0x84, 0x80, 0x00, 1, 0x60, 0, 0];

    #[test]
    fn memories_are_found_wherever_they_are_declared() {
        let none: [&[&[u8]]; 3] = [&[], &[CUSTOM], &[TYPES, CUSTOM]];
        for sections in none {
            assert_eq!(declared_memories(&module(sections)), Some(vec![]));
        }
        let mixed: &[u8] = &[
            MEMORIES,
            18,
            4, //
            0,
            1, // one page, and no maximum
            SHARED | HAS_MAXIMUM,
            2,
            3, //
            MEMORY64,
            0x80,
            1, // 128 pages
            MEMORY64 | HAS_MAXIMUM,
            7,
            0xff,
            0x80,
            0x80,
            0x80,
            0x80,
            0x80,
            0x40,
        ];
        let module = module(&[TYPES_AT_LENGTH, CUSTOM, mixed, CUSTOM]);
        assert_eq!(declared_memories(&module), Some(vec![1, 2, 128, 7]));
    }

    #[test]
    fn what_is_not_understood_is_not_taken_for_a_module_without_memories() {
        let sections: [&[u8]; 7] = [
            &[1],
            &[1, 0x80],
            &[1, 9, 1],
            &[MEMORIES, 1],
            &[MEMORIES, 3, 2, 0, 1],
            &[MEMORIES, 4, 1, 8, 1, 0], // flags to come
            &[MEMORIES, 8, 1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        ];
        for section in sections {
            assert_eq!(declared_memories(&module(&[section])), None, "{section:?}");
        }
    }
}
