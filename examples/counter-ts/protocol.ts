// What the server and the counter say to each other. Types only: nothing of it is left at run time.

export type Question = { type: "read" } | { type: "add"; by: number };

export type Answer = { value: number } | { error: string };
