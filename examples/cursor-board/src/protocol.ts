// What is said on a board's sockets, as JSON. Places are fractions of the board's width and height.

export const LONGEST_NAME = 32;
export const LONGEST_ID = 64;
export const LONGEST_TEXT = 500;

export interface Place {
  x: number;
  y: number;
}

export interface Person {
  id: string;
  name: string;
  /** Where the person points to; null if that is not on the board. */
  at: Place | null;
}

/** A note; whoever makes one chooses its id. */
export interface Note extends Place {
  id: string;
  text: string;
  author: string;
}

/** Changes of a note: what is not named stays. With all of them, a note that is not there is made. */
export type Changes = Partial<Place & { text: string }>;

export type FromPage =
  | { type: "point"; at: Place | null }
  | ({ type: "put"; id: string } & Changes)
  | { type: "remove"; id: string };

export type ToPage =
  | { type: "welcome"; you: string; people: Person[]; notes: Note[] }
  | { type: "person"; person: Person }
  | { type: "gone"; id: string }
  | { type: "note"; note: Note }
  | { type: "removed"; id: string }
  | { type: "error"; error: string; id?: string };

/** Reads a message; what is wrong with it, if anything, is thrown as a `TypeError`. */
export function read(data: string | ArrayBuffer): FromPage {
  const message = parse(data);
  switch (message?.type) {
    case "point":
      check(message.at === null || isPlace(message.at), '"at" must be null or {"x","y"}, from 0 to 1');
      return message;
    case "put":
      check(isId(message.id), PROBLEM_OF_IDS);
      check([message.x, message.y].every((part) => part === undefined || isPart(part)), '"x" and "y" must be from 0 to 1');
      check(message.text === undefined || isText(message.text), `"text" must be a text, ${LONGEST_TEXT} characters at most`);
      return message;
    case "remove":
      check(isId(message.id), PROBLEM_OF_IDS);
      return message;
    default:
      throw new TypeError('"type" must be "point", "put" or "remove"');
  }
}

const PROBLEM_OF_IDS = `"id" must be a text of 1 to ${LONGEST_ID} characters`;

function check(good: boolean, problem: string) {
  if (!good) throw new TypeError(problem);
}

function isPlace(value: any) {
  return isPart(value?.x) && isPart(value?.y);
}

function isPart(value: unknown) {
  return typeof value === "number" && value >= 0 && value <= 1;
}

function isId(value: unknown) {
  return typeof value === "string" && value !== "" && value.length <= LONGEST_ID;
}

function isText(value: unknown) {
  return typeof value === "string" && value.length <= LONGEST_TEXT;
}

function parse(data: string | ArrayBuffer): any {
  try {
    return typeof data === "string" ? JSON.parse(data) : null;
  } catch {
    return null;
  }
}
