//! Accepted WebSockets.

crate::truths! {
    accepted_sockets_have_what_the_standard_has: r#"
        const socket = new WebSocket(`${peer.replace("http", "ws")}/socket`);
        socket.binaryType = "arraybuffer";
        await next(socket, "open");
        const answer = async () => (await next(socket, "message")).data;
        const ask = (data) => { const heard = answer(); socket.send(data); return heard; };
        equal(JSON.parse(await ask(new Uint8Array([1]))), [["arraybuffer", 0], "arraybuffer", "[object ArrayBuffer]"]);
        socket.send("invalid");
        socket.send("blobs");
        equal(JSON.parse(await ask(new Uint8Array([1])))[2], "[object Blob]");
        equal(JSON.parse(await ask("text"))[2], "[object String]");
        const both = [];
        const heard = new Promise((resolve) => {
            socket.addEventListener("message", ({ data }) => both.push(data) === 2 && resolve());
        });
        socket.send("send");
        await heard;
        equal([...new Uint8Array(both[0])], [...utf8("a blob"), 1]);
        equal(both[1], "behind it");
        socket.close();
    "#;

    ends_of_a_pair_send_blobs: r#"
        const { 0: one, 1: two } = new WebSocketPair();
        one.accept();
        two.accept();
        two.binaryType = "blob";
        const heard = next(two, "message");
        one.send(new Blob(["text"]));
        equal(one.bufferedAmount, 4);
        const { data } = await heard;
        made(data, Blob);
        equal([await data.text(), one.bufferedAmount], ["text", 0]);
        equal(await thrown(() => one.send(Symbol())), "TypeError");
    "#;
}
