//! Requests, responses, forms and URLs.

crate::truths! {
    forms_round_trip_any_name: r#"
        const names = ['quo"te', "line\nbreak", "carriage\rreturn", "both\r\nof", "semi;colon=equals", "per%22cent", "ümlaut", ' x="y"; z', "back\\slash"];
        const form = new FormData();
        for (const name of names) form.append(name, `value of ${name}`);
        for (const name of names) form.append("file", new File([name], name));
        const read = await new Response(form).formData();
        // Line breaks in names and values become CRLF on the way out.
        const sent = (text) => text.replace(/\r\n|\r|\n/g, "\r\n");
        for (const name of names) equal(read.get(sent(name).replaceAll("%22", '"')), sent(`value of ${name}`));
        equal(read.getAll("file").map((file) => file.name), names.map((name) => name.replaceAll("%22", '"')));
        equal(await Promise.all(read.getAll("file").map((file) => file.text())), names);
        const echoed = await (await fetch(`${peer}/echo`, { method: "POST", body: form })).formData();
        equal([...echoed.keys()], [...read.keys()]);
    "#;

    forms_of_others_are_read: r#"
        const read = (body, type = "multipart/form-data; boundary=b") => new Response(body, { headers: { "content-type": type } }).formData();
        const form = await read('preamble\r\n--b \t\r\nContent-Disposition: form-data; filename=plain.txt; name=a\r\ncontent-type: text/x\r\n\r\n1\r\n--c\r\n\r\n--b\r\ncontent-disposition: FORM-DATA; NAME="n"\r\n\r\n\ufeffv\r\n--b--\r\nepilogue');
        equal([form.get("a").name, form.get("a").type, await form.get("a").text()], ["plain.txt", "text/x", "1\r\n--c\r\n"]);
        equal(form.get("n"), "v");
        equal([...await read("--b--\r\n")], []);
        equal([...await read('--"q"\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--"q"--', 'multipart/form-data; boundary="\\"q\\""')], [["a", "1"]]);
        for (const bad of ["", "no form", "--b\r\ncontent-disposition: form-data; name=a\r\n\r\nnot ended", "--b\r\nno header"]) {
            equal(await thrown(() => read(bad)), "TypeError");
        }
        equal(await thrown(() => read("--b--", "multipart/form-data")), "TypeError");
        equal(await thrown(() => read("text", "text/plain")), "TypeError");
        const response = new Response(new FormData());
        await response.formData();
        equal([response.bodyUsed, await thrown(() => response.formData())], [true, "TypeError"]);
        equal((await new Request("http://a/", { method: "POST", body: new URLSearchParams("x=y") }).formData()).get("x"), "y");
    "#;

    bodies_are_byte_streams: r#"
        const bodies = ["text", utf8("text"), utf8("text").buffer, new Blob(["text"]), new URLSearchParams("text")];
        for (const body of bodies) {
            const reader = new Response(body).body.getReader({ mode: "byob" });
            const { value, done } = await reader.read(new Uint8Array(2));
            equal([new TextDecoder().decode(value), done], ["te", false]);
            const rest = await reader.read(new Uint8Array(20));
            equal(new TextDecoder().decode(rest.value).startsWith("xt"), true);
            equal((await reader.read(new Uint8Array(1))).done, true);
        }
        const empty = new Response("").body.getReader({ mode: "byob" });
        equal((await empty.read(new Uint8Array(1))).done, true);
        const bytes = utf8("kept"), response = new Response(bytes), copy = response.clone();
        await new Response(response.body).text();
        equal([bytes.length, await copy.text()], [4, "kept"]);
        equal(await new Response(new Response("again").body, { headers: { a: "b" } }).text(), "again");
        const request = new Request("http://a/", { method: "POST", body: "asked" });
        made(request.body.getReader({ mode: "byob" }), ReadableStreamBYOBReader);
    "#;

    a_location_is_utf8: r#"
        const answer = await fetch(`${peer}/moved`);
        equal(await answer.text(), `${peer}/path?gr%C3%BC%C3%9Fe=%D0%B6`);
    "#;

    a_worker_takes_the_body_at_the_call: r#"
        storage.put("undurable", 1);
        const source = new ReadableStream({ start(c) { c.enqueue(utf8("text")); c.close(); } });
        const bytes = utf8("bytes");
        const answers = [
            fetch(`${peer}/echo`, { method: "POST", body: source, duplex: "half" }),
            fetch(`${peer}/echo`, { method: "POST", body: bytes }),
        ];
        equal([source.locked, await thrown(() => source.getReader())], [true, "TypeError"]);
        bytes.fill(0);
        equal(await Promise.all(answers.map(async (answer) => (await answer).text())), ["text", "bytes"]);
    "#;

    blob_urls_come_and_go: r#"
        const url = URL.createObjectURL(new Blob(["inside"], { type: "text/x" }));
        const answer = await fetch(url);
        equal([await answer.text(), answer.headers.get("content-type")], ["inside", "text/x"]);
        for (const other of ["x", "", "http://a/", "blob:nothing"]) URL.revokeObjectURL(other);
        equal(await (await fetch(url)).text(), "inside");
        URL.revokeObjectURL(url);
        equal(await thrown(() => fetch(url)), "TypeError");
        equal([await thrown(() => URL.revokeObjectURL()), await thrown(() => URL.createObjectURL("x"))], ["TypeError", "TypeError"]);
    "#;

    blobs_read_in_pieces: r#"
        const large = new Blob(["x".repeat(1_000_000), new Uint8Array(1_000_000).fill(121)]);
        const part = large.slice(999_999, 1_000_001).slice(0, 2);
        equal(await part.text(), "xy");
        let length = 0;
        for await (const chunk of large.stream()) { length += chunk.length; chunk.fill(0); }
        equal([length, (await large.text())[5]], [2_000_000, "x"]);
        const source = utf8("before"), blob = new Blob([source]);
        source.fill(0);
        (await blob.bytes()).fill(0);
        equal([await blob.text(), await new Blob(["a\r\nb\rc\n"], { endings: "native" }).text()], ["before", "a\nb\nc\n"]);
        equal(await blob.slice(-3).text(), "ore");
    "#;

    patterns_match_nothing_by_default: r#"
        equal([new URLPattern().test(), new URLPattern({ hostname: "a" }).test(), new URLPattern().exec().inputs.length], [true, false, 1]);
        equal([URLPattern.prototype.test.length, URLPattern.prototype.exec.length], [0, 0]);
        equal(new URLPattern({ pathname: "/:a" }).exec("http://h/x").pathname.groups.a, "x");
    "#;
}
