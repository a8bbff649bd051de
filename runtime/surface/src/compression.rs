//! What `DecompressionStream` decompresses with: piece by piece, however much comes out of a chunk.

use std::cell::RefCell;
use std::ffi::CStr;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use deno_core::{GarbageCollected, op2, v8};
use deno_error::JsErrorBox;
use flate2::{Decompress, FlushDecompress, Status};

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// zlib's largest window, as a power of two, which gzip always has.
const WINDOW_BITS: u8 = 15;

/// A decompression under way.
pub struct Inflate(RefCell<State>);

#[expect(
    unsafe_code,
    reason = "what V8's garbage collector frees must say what it holds"
)]
// SAFETY: it owns plain memory and holds nothing of V8's heap.
unsafe impl GarbageCollected for Inflate {
    fn trace(&self, _visitor: &mut v8::cppgc::Visitor) {}

    fn get_name(&self) -> &'static CStr {
        c"Inflate"
    }
}

struct State {
    format: Format,
    /// How much of the present chunk was used.
    used: usize,
    /// Whether there is no more to come.
    ended: bool,
    /// Whether the compressed data was complete. Nothing may follow it.
    complete: bool,
}

enum Format {
    Zlib(Decompress),
    Brotli(Box<Brotli>),
}

/// What one step of a format did.
struct Step {
    used: usize,
    made: usize,
    complete: bool,
}

impl Format {
    fn new(name: &str) -> Option<Self> {
        Some(match name {
            "deflate" => Self::Zlib(Decompress::new(true)),
            "deflate-raw" => Self::Zlib(Decompress::new(false)),
            "gzip" => Self::Zlib(Decompress::new_gzip(WINDOW_BITS)),
            "brotli" => {
                let mut brotli = Brotli::new(
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                );
                brotli.large_window = false; // the data could ask for 1 GiB otherwise, and standard data needs 16 MiB
                Self::Brotli(Box::new(brotli))
            }
            _ => return None,
        })
    }

    /// Decompresses into `piece`. `None` where the data is no such data.
    fn step(&mut self, input: &[u8], piece: &mut [u8]) -> Option<Step> {
        match self {
            Self::Zlib(zlib) => {
                let (total_in, total_out) = (zlib.total_in(), zlib.total_out());
                let status = zlib.decompress(input, piece, FlushDecompress::None).ok()?;
                Some(Step {
                    used: usize::try_from(zlib.total_in() - total_in).ok()?,
                    made: usize::try_from(zlib.total_out() - total_out).ok()?,
                    complete: status == Status::StreamEnd,
                })
            }
            Self::Brotli(brotli) => {
                let (mut left, mut used) = (input.len(), 0);
                let (mut room, mut made) = (piece.len(), 0);
                let result = BrotliDecompressStream(
                    &mut left, &mut used, input, &mut room, &mut made, piece, &mut 0, brotli,
                );
                (!matches!(result, BrotliResult::ResultFailure)).then_some(Step {
                    used,
                    made,
                    complete: matches!(result, BrotliResult::ResultSuccess),
                })
            }
        }
    }
}

impl State {
    fn new(format: Format) -> Self {
        Self {
            format,
            used: 0,
            ended: false,
            complete: false,
        }
    }

    /// Fills `piece` from the present chunk, as far as that goes; 0 when more input is needed, or when all is done.
    fn read(&mut self, chunk: &[u8], piece: &mut [u8]) -> Result<usize, JsErrorBox> {
        let input = chunk
            .get(self.used..)
            .ok_or_else(|| JsErrorBox::type_error("the chunk has changed"))?;
        let (mut filled, mut taken) = (0, 0);
        while !self.complete && filled < piece.len() {
            let step = self
                .format
                .step(&input[taken..], &mut piece[filled..])
                .ok_or_else(|| JsErrorBox::type_error("the data is not compressed so"));
            let step = match step {
                Ok(step) => step,
                // What came before it is given first; then the same is met again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            };
            taken += step.used;
            filled += step.made;
            self.complete = step.complete;
            if step.used == 0 && step.made == 0 {
                break;
            }
        }
        self.used += taken;
        if filled > 0 {
            return Ok(filled);
        }
        if self.complete && taken < input.len() {
            return Err(JsErrorBox::type_error(
                "there is something behind the compressed data",
            ));
        }
        if self.ended && !self.complete {
            return Err(JsErrorBox::type_error(
                "the compressed data is not complete",
            ));
        }
        Ok(0)
    }
}

/// Begins a decompression.
#[op2]
#[cppgc]
pub(crate) fn op_inflate_new(#[string] format: &str) -> Result<Inflate, JsErrorBox> {
    let format = Format::new(format).ok_or_else(|| JsErrorBox::type_error("no such format"))?;
    Ok(Inflate(RefCell::new(State::new(format))))
}

/// Another chunk comes; all before it was read.
#[op2(fast)]
pub(crate) fn op_inflate_next(#[cppgc] inflate: &Inflate) {
    inflate.0.borrow_mut().used = 0;
}

/// Reads into `piece` from the chunk, which is the same each time; 0 when it is used up. Whoever calls keeps the chunk, for
/// JavaScript counts it.
#[op2(fast)]
#[smi]
pub(crate) fn op_inflate_read(
    #[cppgc] inflate: &Inflate,
    #[buffer] chunk: &[u8],
    #[buffer] piece: &mut [u8],
) -> Result<u32, JsErrorBox> {
    let filled = inflate.0.borrow_mut().read(chunk, piece)?;
    u32::try_from(filled).map_err(|_| JsErrorBox::range_error("the piece is too large"))
}

/// There are no more chunks.
#[op2(fast)]
pub(crate) fn op_inflate_end(#[cppgc] inflate: &Inflate) {
    let mut state = inflate.0.borrow_mut();
    state.used = 0;
    state.ended = true;
}
