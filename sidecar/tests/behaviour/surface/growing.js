// WebAssembly modules, made by hand.

const section = (id, ...content) => [id, content.length, ...content];

/**
 * The code of a module with these memories, each as its declaration's bytes, and a function `grow(pages)` that grows each of
 * them and fills what is new, without a loop or a call. It traps where a memory cannot grow. `imported` memories, as many as
 * it says, come before them.
 */
export function growing(declared, imported = 0) {
  // (memory.fill $n (i32.shl (memory.grow $n (local.get 0)) (i32.const 16)) (i32.const 1) (i32.shl (local.get 0) (i32.const 16)))
  const fill = (n) => [0x20, 0, 0x40, n, 0x41, 16, 0x74, 0x41, 1, 0x20, 0, 0x41, 16, 0x74, 0xfc, 0x0b, n];
  const code = Array.from({ length: declared.length + imported }, (_, n) => fill(n)).flat();
  const imports = Array(imported).fill([1, 109, 1, 109, 2, 0, 0]).flat(); // (import "m" "m" (memory 0))
  return Uint8Array.of(
    ...[0, 97, 115, 109, 1, 0, 0, 0],
    ...section(1, 1, 0x60, 1, 0x7f, 0), // (type (func (param i32)))
    ...section(2, imported, ...imports),
    ...section(3, 1, 0),
    ...section(5, declared.length, ...declared.flat()),
    ...section(7, 1, 4, 103, 114, 111, 119, 0, 0), // (export "grow" (func 0))
    ...section(10, 1, code.length + 2, 0, ...code, 0x0b),
  );
}

/** An instance of such a module. */
export const grown = (...args) => new WebAssembly.Instance(new WebAssembly.Module(growing(...args))).exports;
