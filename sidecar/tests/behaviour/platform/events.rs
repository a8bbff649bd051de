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
        equal(await thrown(() => Event.prototype.timeStamp), "TypeError");
    "#;

    listeners_are_called_as_the_standard_has_it: r#"
        const heard = async (listen) => {
            const { 0: one, 1: two } = new WebSocketPair(), heard = [];
            one.accept();
            two.accept();
            listen((listener, options) => two.addEventListener("message", listener, options), heard, two);
            one.send("x");
            await new Promise((resolve) => setTimeout(resolve));
            return heard.join();
        };
        equal(await heard((on, heard) => {
            on(() => heard.push("a"));
            on((event) => heard.push(`captured ${event.eventPhase}`), true);
            on((event) => heard.push(`b ${event.eventPhase}`));
        }), "captured 2,a,b 2");
        equal(await heard((on, heard) => {
            on(() => heard.push("a"));
            for (const name of ["b", "c"]) on((event) => { heard.push(name); event.stopPropagation(); }, { capture: true });
        }), "b,c");
        equal(await heard((on, heard) => {
            for (const name of ["a", "b"]) on((event) => { heard.push(name); event.stopPropagation(); });
        }), "a,b");
        for (const capture of [true, false]) {
            equal(await heard((on, heard) => {
                on((event) => { heard.push("a"); event.stopImmediatePropagation(); }, { capture });
                on(() => heard.push("b"), { capture });
                on(() => heard.push("c"));
            }), "a");
        }
        equal(await heard((on, heard) => {
            on(() => { heard.push("captured"); on(() => heard.push("in time")); on(() => heard.push("too late"), true); }, true);
        }), "captured,in time");
        equal(await heard((on, heard, two) => {
            const gone = () => heard.push("gone");
            on(() => { heard.push("a"); two.removeEventListener("message", gone); }, { once: true });
            on(gone);
            on((event) => heard.push([event.isTrusted, event.target === two, event.currentTarget === two]));
        }), "a,true,true,true");
    "#;

    a_handler_has_its_place_among_the_listeners: r#"
        const { 0: one, 1: two } = new WebSocketPair();
        one.accept();
        two.accept();
        let heard;
        const said = async () => {
            heard = [];
            one.send("x");
            await new Promise((resolve) => setTimeout(resolve));
            return heard.join();
        };
        equal(two.onmessage, null);
        two.onmessage = null;
        two.addEventListener("message", () => heard.push("a"));
        two.onmessage = function (event) { heard.push(this === two && event.data); };
        two.addEventListener("message", () => heard.push("b"));
        equal(await said(), "a,x,b");
        const another = () => heard.push("another");
        two.onmessage = another;
        equal([await said(), two.onmessage === another, one.onmessage], ["a,another,b", true, null]);
        for (const none of [null, undefined, 1, "text"]) {
            two.onmessage = none;
            equal([await said(), two.onmessage], ["a,b", null]);
        }
        const object = { handleEvent: () => heard.push("not called") };
        two.onmessage = object;
        equal([await said(), two.onmessage === object], ["a,b", true]);
        two.onmessage = another;
        equal(await said(), "a,another,b");
        two.onmessage = () => { throw new Error("thrown"); };
        equal(await said(), "a,b");
    "#;

    no_listener_keeps_others_from_hearing: r#"
        const reported = [];
        addEventListener("error", ({ message }) => reported.push(message));
        const { 0: one, 1: two } = new WebSocketPair(), heard = [];
        one.accept();
        two.accept();
        const on = (name, options, f) => two.addEventListener("message", (event) => { heard.push(name); f?.(event); }, options);
        const { signal } = new AbortController();
        signal.removeEventListener = () => { throw new Error("not removed"); };
        on("captured", true, (event) => Object.freeze(event));
        on("a");
        on("passive", { passive: true });
        on("once", { once: true, signal });
        on("throws", {}, () => { throw new Error("thrown"); });
        on("last");
        one.send("x");
        await new Promise((resolve) => setTimeout(resolve));
        equal(heard, ["captured", "a", "passive", "once", "throws", "last"]);
        equal(reported.map((text) => text.replace("Uncaught Error: ", "")), ["not removed", "thrown"]);
    "#;

    events_of_ports_are_trusted: r#"
        const { port } = new ServerlessWorker("./worker.js", "another");
        const heard = next(port, "message");
        port.start();
        port.postMessage({ job: "echo", argument: "x" });
        const { data, isTrusted } = await heard;
        equal([data.text, isTrusted], ["x", true]);
        port.close();
        equal(new MessageEvent("message").isTrusted, false);
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
