//! Events, and where they come from.

crate::truths! {
    events_know_when_they_were_made: r#"
        const before = performance.now();
        const event = new Event("a"), message = new MessageEvent("message", { data: 1 });
        for (const { timeStamp } of [event, message]) equal(timeStamp >= before && timeStamp <= performance.now(), true);
        const { timeStamp } = event;
        await new Promise((resolve) => setTimeout(resolve, 5));
        equal([event.timeStamp === timeStamp, new Event("b").timeStamp > timeStamp], [true, true]);
        class Mine extends Event {}
        equal(new Mine("m").timeStamp > timeStamp, true);
    "#;

    event_streams_may_end_lines_with_cr: r#"
        const source = new EventSource(`${peer}/events`);
        const heard = [];
        await new Promise((resolve, reject) => {
            source.onerror = () => reject(new Error("lost"));
            source.onmessage = ({ data }) => heard.push(data) === 2 && resolve();
        });
        source.close();
        equal(heard, ["one", "two"]);
        equal(await (await fetch(`${peer}/seen`)).text(), "no-store");
    "#;

    a_file_reader_reads: r#"
        const read = async (how, blob, ...more) => {
            const reader = new FileReader(), types = [];
            equal([reader.readyState, reader.result], [FileReader.EMPTY, null]);
            for (const type of ["loadstart", "progress", "load", "loadend"]) reader.addEventListener(type, (event) => { made(event, ProgressEvent); types.push(event.type); });
            reader[how](blob, ...more);
            await next(reader, "loadend");
            equal([types[0], types.at(-1), types.includes("load")], ["loadstart", "loadend", true]);
            return reader.result;
        };
        equal(await read("readAsText", new Blob(["grüße"])), "grüße");
        equal(await read("readAsText", new Blob([new Uint8Array([228])]), "latin1"), "ä");
        equal(new Uint8Array(await read("readAsArrayBuffer", new Blob(["a"])))[0], 97);
        equal(await read("readAsDataURL", new Blob(["a"], { type: "text/x" })), "data:text/x;base64,YQ==");
        equal(await read("readAsBinaryString", new Blob([new Uint8Array([255])])), "\xff");
    "#;
}
