// What an application with the stock @openai/agents-realtime does; of ours is only `relay`'s address.
import { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import { listen } from "./ear.js";

window.events = [];
const note = (type, detail = {}) => events.push({ type, at: performance.now(), ...detail });

window.connect = async (relay, tones) => {
  const minted = await fetch(`${relay}/v1/realtime/client_secrets`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ session: { type: "realtime", model: "gpt-realtime-2.1" } }),
  });
  const { value: apiKey } = await minted.json();
  const audioElement = new Audio();
  const transport = new OpenAIRealtimeWebRTC({
    baseUrl: `${relay}/v1/realtime/calls`,
    audioElement,
  });
  const agent = new RealtimeAgent({ name: "Guide", instructions: "Answer in one sentence." });
  window.session = new RealtimeSession(agent, { transport });
  session.on("transport_event", (event) => note(event.type, { event }));
  session.on("agent_end", (_context, _agent, output) => note("sdk.agent_end", { output }));
  session.on("error", ({ error }) => note("sdk.error", { error: String(error?.message ?? error) }));
  transport.on("connection_change", (status) => note(`sdk.${status}`));
  const started = performance.now();
  await session.connect({ apiKey });
  window.heard = listen(audioElement.srcObject, tones);
  return { apiKey, callId: transport.callId, took: performance.now() - started };
};
