//! Compression.

crate::truths! {
    decompressed_bytes_come_before_the_error_behind_them: r#"
        for (const format of ["gzip", "deflate", "deflate-raw", "brotli"]) {
            const text = "the same again and ".repeat(20_000);
            const whole = await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream(format))).bytes();
            const inflate = async (...chunks) => {
                let seen = 0, error = "none";
                try {
                    for await (const chunk of ReadableStream.from(chunks).pipeThrough(new DecompressionStream(format))) {
                        seen += chunk.length;
                        equal(chunk.length <= 65_536, true);
                    }
                } catch (e) { error = e.name; }
                return [seen, error];
            };
            equal(await inflate(whole), [text.length, "none"]);
            equal(await inflate(...[...whole].map((byte) => new Uint8Array([byte]))), [text.length, "none"]);
            equal(await inflate(whole, new Uint8Array([0])), [text.length, "TypeError"]);
            equal(await inflate(new Uint8Array([...whole, 0])), [text.length, "TypeError"]);
            const [seen, error] = await inflate(whole.slice(0, -1));
            equal([seen >= text.length - 258 || format === "brotli", error], [true, "TypeError"]);
            equal(await inflate(), [0, "TypeError"]);
            equal((await inflate(utf8("garbage that is none")))[1], "TypeError");
            equal((await inflate("text"))[1], "TypeError");
        }
        equal([await thrown(() => new DecompressionStream("zip")), await thrown(() => new DecompressionStream())], ["TypeError", "TypeError"]);
    "#;

    decompression_is_as_fast_as_its_reader: r#"
        const { readable, writable } = new DecompressionStream("gzip");
        const zeros = new ReadableStream({ pull(c) { if (this.left-- > 0) c.enqueue(new Uint8Array(1 << 20)); else c.close(); }, left: 64 });
        const bomb = await new Response(zeros.pipeThrough(new CompressionStream("gzip"))).bytes();
        const writer = writable.getWriter();
        let written = false;
        writer.write(bomb).then(() => written = true);
        const reader = readable.getReader();
        for (let i = 0; i < 10; i++) await reader.read();
        equal(written, false);
        await reader.cancel("enough");
        let reason; await writer.closed.catch((why) => reason = why); equal(reason, "enough");
    "#;

    decompression_ends_with_either_side: r#"
        const one = new DecompressionStream("deflate");
        await one.writable.abort(new RangeError("why"));
        equal(await thrown(() => one.readable.getReader().read()), "RangeError");
        const two = new DecompressionStream("deflate");
        await two.readable.cancel(new RangeError("why"));
        equal(await thrown(() => two.writable.getWriter().write(new Uint8Array(1))), "RangeError");
        equal(Object.prototype.toString.call(one), "[object DecompressionStream]");
        equal([await thrown(() => DecompressionStream.prototype.readable), DecompressionStream.length], ["TypeError", 1]);
    "#;
}
