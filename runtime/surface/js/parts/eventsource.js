// EventSource (HTML standard, 9.2). deno_fetch's waits for what follows a CR before it takes the line for ended.
(function () {
const { core } = __bootstrap;
const { defineConstant } = core.loadExtScript("ext:portside/properties.js");

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { defineEventHandler, Event, EventTarget, MessageEvent, setIsTrusted } = core.loadExtScript("ext:deno_web/02_event.js");
const { clearTimeout, setTimeout } = core.loadExtScript("ext:deno_web/02_timers.js");
const { AbortController } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { TextDecoderStream } = core.loadExtScript("ext:deno_web/08_text_encoding.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { fetch } = core.loadExtScript("ext:deno_fetch/26_fetch.js");
core.loadExtScript("ext:deno_fetch/27_eventsource.js"); // it defines the dictionary

const CONNECTING = 0, OPEN = 1, CLOSED = 2;
/** How long to wait before connecting again, in milliseconds, until the server says otherwise. */
const RECONNECTION_TIME = 5000;

/** Cuts text into lines, each as soon as it is complete. */
class Lines {
  #rest = "";
  #afterCr = false; // an LF now belongs to the line before

  *of(text) {
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    if (text === "") return;
    this.#afterCr = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    yield* lines;
  }
}

class EventSource extends EventTarget {
  #url;
  #withCredentials;
  #state = CONNECTING;
  #abort = new AbortController();
  #timer;
  #reconnectionTime = RECONNECTION_TIME;
  #lastEventId = "";
  // The event that is being read.
  #data = "";
  #type = "";
  #id = "";

  constructor(url, eventSourceInitDict = undefined) {
    const prefix = "Failed to construct 'EventSource'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    super();
    this[webidl.brand] = webidl.brand;
    url = webidl.converters.USVString(url, prefix, "Argument 1");
    const init = webidl.converters.EventSourceInit(eventSourceInitDict, prefix, "Argument 2");
    try {
      this.#url = new URL(url).href;
    } catch (error) {
      throw new DOMException(error.message, "SyntaxError");
    }
    this.#withCredentials = init.withCredentials;
    this.#connect();
  }

  get url() {
    webidl.assertBranded(this, EventSourcePrototype);
    return this.#url;
  }

  get withCredentials() {
    webidl.assertBranded(this, EventSourcePrototype);
    return this.#withCredentials;
  }

  get readyState() {
    webidl.assertBranded(this, EventSourcePrototype);
    return this.#state;
  }

  close() {
    webidl.assertBranded(this, EventSourcePrototype);
    this.#state = CLOSED;
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  async #connect() {
    const headers = { accept: "text/event-stream", "cache-control": "no-store" };
    if (this.#lastEventId !== "") headers["last-event-id"] = bytesOf(this.#lastEventId);
    try {
      const response = await fetch(this.#url, { headers, signal: this.#abort.signal });
      const type = response.headers.get("content-type") ?? "";
      if (response.status !== 200 || !/^text\/event-stream\s*(;|$)/i.test(type.trim())) {
        await response.body?.cancel();
        this.#fail();
        return;
      }
      this.#open();
      await this.#read(response);
    } catch {
      // A connection that could not be made, or broke: the next one may last.
    }
    this.#reconnect();
  }

  #open() {
    if (this.#state === CLOSED) return;
    this.#state = OPEN;
    this.dispatchEvent(new Event("open"));
  }

  async #read(response) {
    const lines = new Lines();
    const { origin } = new URL(response.url);
    [this.#data, this.#type, this.#id] = ["", "", this.#lastEventId];
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      for (const line of lines.of(text)) {
        if (line === "") this.#dispatch(origin);
        else this.#field(line);
        if (this.#state === CLOSED) return;
      }
    }
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data += `${value}\n`;
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#reconnectionTime = Number(value);
  }

  #dispatch(origin) {
    const data = this.#data, type = this.#type || "message";
    [this.#data, this.#type, this.#lastEventId] = ["", "", this.#id];
    if (data === "") return;
    const event = new MessageEvent(type, { data: data.slice(0, -1), origin, lastEventId: this.#lastEventId });
    setIsTrusted(event, true);
    this.dispatchEvent(event);
  }

  #reconnect() {
    if (this.#state === CLOSED) return;
    this.#state = CONNECTING;
    this.dispatchEvent(new Event("error"));
    if (this.#state === CLOSED) return; // by a listener
    this.#timer = setTimeout(() => this.#connect(), this.#reconnectionTime);
  }

  #fail() {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.dispatchEvent(new Event("error"));
  }
}

/** UTF-8 bytes as a header of JavaScript carries them, one in each character. */
function bytesOf(text) {
  return String.fromCharCode(...core.encode(text));
}

defineConstant(EventSource, "CONNECTING", CONNECTING);
defineConstant(EventSource, "OPEN", OPEN);
defineConstant(EventSource, "CLOSED", CLOSED);
defineEventHandler(EventSource.prototype, "open");
defineEventHandler(EventSource.prototype, "message");
defineEventHandler(EventSource.prototype, "error");
webidl.configureInterface(EventSource);
const EventSourcePrototype = EventSource.prototype;

return { EventSource };
})();
