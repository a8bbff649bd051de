// The errors that the host side of the platform throws. deno_core throws `undefined` for a class that nobody registered.
import { core } from "ext:core/mod.js";
import { load } from "ext:portside/parts.js";

const { DOMException, QuotaExceededError } = load("ext:deno_web/01_dom_exception.js");

// Web IDL, "DOMException names", but for QuotaExceededError, which is an interface of its own.
const DOM_EXCEPTIONS = [
  "AbortError",
  "ConstraintError",
  "DataCloneError",
  "DataError",
  "EncodingError",
  "HierarchyRequestError",
  "InUseAttributeError",
  "IndexSizeError",
  "InvalidAccessError",
  "InvalidCharacterError",
  "InvalidModificationError",
  "InvalidNodeTypeError",
  "InvalidStateError",
  "NamespaceError",
  "NetworkError",
  "NoModificationAllowedError",
  "NotAllowedError",
  "NotFoundError",
  "NotReadableError",
  "NotSupportedError",
  "OperationError",
  "ReadOnlyError",
  "SecurityError",
  "SyntaxError",
  "TimeoutError",
  "TransactionInactiveError",
  "TypeMismatchError",
  "URLMismatchError",
  "UnknownError",
  "VersionError",
  "WrongDocumentError",
];

// What the deno_* crates and the system's errors are called. The web platform has no names for them.
const SYSTEM = [
  "AddrInUse",
  "AddrNotAvailable",
  "AlreadyExists",
  "BrokenPipe",
  "Busy",
  "ConnectionAborted",
  "ConnectionRefused",
  "ConnectionReset",
  "FilesystemLoop",
  "Http",
  "InvalidData",
  "IsADirectory",
  "NetworkUnreachable",
  "NotADirectory",
  "NotConnected",
  "NotFound",
  "NotSupported",
  "PermissionDenied",
  "TimedOut",
  "UnexpectedEof",
  "WouldBlock",
  "WriteZero",
];

export function registerErrors() {
  for (const name of DOM_EXCEPTIONS) {
    core.registerErrorBuilder(`DOMException${name}`, (message) => new DOMException(message, name));
  }
  core.registerErrorBuilder("DOMExceptionQuotaExceededError", (message) => new QuotaExceededError(message));
  for (const name of SYSTEM) {
    core.registerErrorBuilder(name, (message) => {
      const error = new Error(message);
      Object.defineProperty(error, "name", { value: name, writable: true, configurable: true });
      return error;
    });
  }
}
