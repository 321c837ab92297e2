import type { Dispatcher } from 'undici';
import type { BytesForm } from '../tensor/signature-types.ts';
import type { RetryOptions } from './retry.ts';

/** A parameter of a request, as the protocol allows them. */
export type ParameterValue = string | number | boolean;

/** How tensors travel. */
export type WireFormat = 'binary' | 'json';

/** Content encodings of the protocol's clients. */
export type Compression = 'gzip' | 'deflate';

/** Options of every call. */
export interface CallOptions {
  /** Gives the call up when aborted, wherever it is: waiting for a connection, sending, waiting, pausing. */
  readonly signal?: AbortSignal | undefined;
  /** The longest the call may take, further tries and their pauses included; default as for the client. */
  readonly timeoutMs?: number | undefined;
  /** Headers beside those of the client. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Options of calls about a model. */
export interface ModelOptions extends CallOptions {
  /** Default: the one the server answers with, its newest that is ready. */
  readonly version?: string | undefined;
}

/** Options of `infer`. */
export interface InferOptions<Output extends string = string, B extends BytesForm = BytesForm> extends ModelOptions {
  /** The outputs wanted; default all. */
  readonly outputs?: readonly Output[] | undefined;
  /** The request's name; it comes back with the reply. */
  readonly id?: string | undefined;
  /** 1 is the highest, 0 the model's default (Triton's schedule policy). */
  readonly priority?: number | undefined;
  /** How long the request may wait for its run, in milliseconds; the server then answers 504. */
  readonly queueTimeoutMs?: number | undefined;
  /** Further parameters of the request. */
  readonly parameters?: Readonly<Record<string, ParameterValue>> | undefined;
  /** How tensors travel; default as for the client. */
  readonly format?: WireFormat | undefined;
  /** How BYTES outputs come: as strings (default; what is not UTF-8 becomes U+FFFD) or as Uint8Arrays. */
  readonly bytes?: B | undefined;
}

/** Options of a client. */
export interface ClientOptions {
  /** Default 60 s. */
  readonly timeoutMs?: number;
  /** How long a connection may take to come about; default 5 s. */
  readonly connectTimeoutMs?: number;
  /** Most connections at a time; further calls wait for one. Default 128. */
  readonly connections?: number;
  /** Headers of every request, such as `authorization`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly retry?: Partial<RetryOptions>;
  /** Default `binary`; `json` for servers that know nothing else. */
  readonly format?: WireFormat;
  /** Compresses the bodies of inference requests from 1 KiB on; default not at all. */
  readonly compressRequests?: Compression;
  /** Asks for compressed inference replies; default not. */
  readonly compressReplies?: Compression;
  /** The largest reply taken, in bytes, expanded; default 1 GiB. */
  readonly maxReplyBytes?: number;
  /** An undici dispatcher to send with, a proxy's for instance, instead of a pool of the client's own. It is not closed with the client. */
  readonly dispatcher?: Dispatcher;
}
