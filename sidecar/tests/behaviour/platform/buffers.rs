//! Memory that V8 maps for one object alone counts as it may become, and as a mebibyte at least: of 128 MiB.

crate::truths! {
    a_resizable_buffer_counts_as_it_may_become: r#"
        const MIB = 2 ** 20;
        const refuses = async (Buffer, maxByteLength) =>
            equal(await thrown(() => new Buffer(0, { maxByteLength })), "RangeError");
        const counts = async (Buffer) => {
            for (const tooMuch of [129 * MIB, 2 ** 32, 2 ** 53, Infinity]) await refuses(Buffer, tooMuch);
            const [large, small] = [100, 20].map((size) => new Buffer(0, { maxByteLength: size * MIB }));
            await refuses(Buffer, 9 * MIB);
            (large.resize ?? large.grow).call(large, 100 * MIB);
            equal([large.byteLength, small.maxByteLength], [100 * MIB, 20 * MIB]);
        };
        await counts(ArrayBuffer);
        await new Promise((resolve) => setTimeout(resolve)); // what a turn has seen is kept until its end
        await counts(SharedArrayBuffer);"#;
    mappings_are_few_and_those_of_what_is_gone_do_not_count: r#"
        const empty = growing([[0, 0]]);
        const module = new WebAssembly.Module(empty);
        const exporting = new WebAssembly.Module(Uint8Array.fromHex("0061736d01000000" + "0503010000" + "070501016d0200"));
        const makers = [
            () => new ArrayBuffer(1, { maxByteLength: 8192 }),
            () => new SharedArrayBuffer(1, { maxByteLength: 8192 }),
            () => new WebAssembly.Memory({ initial: 0 }),
            () => new WebAssembly.Instance(module).exports.grow,
            () => new WebAssembly.Instance(exporting).exports.m,
            () => WebAssembly.instantiate(module),
            () => WebAssembly.instantiate(empty),
            () => structuredClone(new ArrayBuffer(1, { maxByteLength: 8192 })),
            () => structuredClone(new SharedArrayBuffer(1), {}),
            () => structuredClone(new WebAssembly.Memory({ initial: 0, maximum: 1, shared: true }), {}),
        ];
        for (const make of makers) {
            const few = [];
            for (let i = 0; i < 100; i++) few.push(await make());
            const all = few.slice();
            equal(await thrown(async () => { for (;;) all.push(await make()); }), "RangeError");
            equal(all.length > 120, true);
            // Promises and what they were resolved with are let go of in a later turn.
            all.length = few.length = 0;
            await new Promise((resolve) => setTimeout(resolve));
        }
        for (let i = 0; i < 1000; i++) new ArrayBuffer(0, { maxByteLength: 10 });"#;
    buffers_that_stand_for_others_count_as_well: r#"
        const SIZE = 100 * 2 ** 20;
        const turn = () => new Promise((resolve) => setTimeout(resolve)); // what one has seen is kept until its end
        const make = () => new ArrayBuffer(0, { maxByteLength: SIZE });
        const moved = (buffer) => structuredClone(buffer, { transfer: [buffer] });
        const stored = async (clone) => {
            if (clone) await storage.put("buffer", [new Map([["key", new Set([new Uint8Array(make())])]])]);
            await turn();
            return (await storage.get("buffer"))[0];
        };
        const buffer = new ArrayBuffer(1, { maxByteLength: SIZE });
        const made = moved(buffer).transfer();
        equal([made.byteLength, made.maxByteLength, made.resizable, buffer.detached], [1, SIZE, true, true]);
        equal([ArrayBuffer.prototype.transfer.name, ArrayBuffer.prototype.transfer.length], ["transfer", 0]);
        made.transfer();
        await turn();
        const few = structuredClone([new ArrayBuffer(1, { maxByteLength: 2 }), new SharedArrayBuffer(1, { maxByteLength: 2 })], {});
        equal([few[0].maxByteLength, few[1].maxByteLength], [2, 2]);
        await stored(true);
        await turn();
        const makers = {
            transferred: () => make().transfer(),
            twice: () => make().transfer().transfer(5),
            moved: () => moved(make()),
            cloned: () => structuredClone(make()),
            clonedHere: () => structuredClone({ of: [new DataView(make())] }, {}),
            inACause: () => structuredClone(new Error("", { cause: make() })).cause,
            unseen() {
                const swallowed = { __proto__: null, set() {}, configurable: true };
                for (const index of [0, 1]) Object.defineProperty(Array.prototype, index, swallowed);
                try {
                    return structuredClone(make());
                } finally {
                    for (const index of [0, 1]) delete Array.prototype[index];
                }
            },
            stored,
            sent: async () => {
                const { port1, port2 } = new MessageChannel(), buffer = make();
                port1.postMessage(buffer, [buffer]);
                const event = await new Promise((resolve) => port2.onmessage = port2.onmessageerror = resolve);
                port1.close();
                if (event.type === "messageerror") throw new RangeError();
                return event.data;
            },
            shared: () => structuredClone(new SharedArrayBuffer(0, { maxByteLength: SIZE }), {}),
        };
        for (const [name, maker] of Object.entries(makers)) {
            for (let i = 0; i < 3; i++) { // what is gone does not count
                try { if (i > 0 || name === "transferred" || name === "moved") await maker(); } catch {}
                await turn();
            }
            const kept = [];
            let error;
            for (let i = 0; i < 5; i++) {
                try { kept.push(await maker()); } catch (thrown) { error = thrown; }
                await turn();
            }
            equal([name, error?.name, kept.length < 2], [name, "RangeError", true]);
        }"#;
    nothing_of_the_count_is_seen: r#"
        for (const Buffer of [ArrayBuffer, SharedArrayBuffer]) {
            equal([Buffer.name, Buffer.length], [Buffer === ArrayBuffer ? "ArrayBuffer" : "SharedArrayBuffer", 1]);
            equal(`${Buffer}`.includes("[native code]"), true);
            equal(Object.keys(globalThis).includes(Buffer.name), false);
            class Own extends Buffer {}
            made(new Own(1, { maxByteLength: 2 }), Own);
            made(new Own(1, { maxByteLength: 2 }).slice(), Own);
            made(new Buffer(1), Buffer);
            equal(new Buffer(1).constructor === Buffer, true);
            equal(Buffer[Symbol.species] === Buffer, true);
            equal(new Buffer(1, {}).maxByteLength, 1);
            equal(new Buffer(3.7, { maxByteLength: "4.2" }).maxByteLength, 4);
            equal(new Buffer(0, { maxByteLength: NaN }).maxByteLength, 0);
            equal(await thrown(() => Buffer(1)), "TypeError");
            equal(await thrown(() => new Buffer(1n)), "TypeError");
            equal(await thrown(() => new Buffer(1n, {})), "TypeError");
            equal(await thrown(() => new Buffer(1, { maxByteLength: 1n })), "TypeError");
            for (const wrong of [[2, 1], [0, -1], [-1, 1]]) {
                equal(await thrown(() => new Buffer(wrong[0], { maxByteLength: wrong[1] })), "RangeError");
            }
            const order = [];
            const length = { valueOf: () => order.push("length") };
            new Buffer(length, { get maxByteLength() { order.push("max"); return { valueOf: () => order.push("number") + 1 }; } });
            equal(order, ["length", "max", "number"]);
        }
        equal(new Uint8Array(1).buffer.constructor === ArrayBuffer, true);
        made(structuredClone(new ArrayBuffer(1, { maxByteLength: 2 })), ArrayBuffer);
        equal(structuredClone(new ArrayBuffer(1, { maxByteLength: 2 })).resizable, true);
        equal(ArrayBuffer.isView(new DataView(new ArrayBuffer(1))), true);"#;
}
