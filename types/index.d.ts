/// <reference path="./serverless-worker.d.ts" />
/// <reference path="./workers.d.ts" />
/// <reference path="./modules.d.ts" />
