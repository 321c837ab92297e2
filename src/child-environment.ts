/** The environment of a process of our own: nothing that would make it load or debug our code; no telemetry. */
export function childEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_CHANNEL_FD: _channel, ...rest } = process.env;
  return { ...rest, ORT_DISABLE_TELEMETRY: '1' };
}
