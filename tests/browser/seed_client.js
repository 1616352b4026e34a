// client.js
// 2. Create an RTCPeerConnection and generate an SDP Offer
const pc = new RTCPeerConnection();
pc.ontrack = () => {
// add the logic to set the audio track to your application
}
pc.addTrack(/* add the local tracks to the peer connections */)
const offer = await pc.createOffer();
await pc.setLocalDescription(offer);
// 3. Send the Offer to the OpenAI servers to receive the SDP Answer
const tokenResponse = await fetch("/session");
const data = await tokenResponse.json();
const EPHEMERAL_KEY = data.client_secret.value;
const baseUrl = "https://api.openai.com/v1/realtime";
const model = "gpt-4o-realtime-preview-2024-12-17";
const sdpResponse = await fetch(`${baseUrl}?model=${model}`, {
method: "POST",
body: offer.sdp,
headers: {
Authorization: `Bearer ${EPHEMERAL_KEY}`,
"Content-Type": "application/sdp"
},
});
// 4. Add the Answer to the peer connection
const answer = {
type: "answer",
sdp: await sdpResponse.text(),
};
await pc.setRemoteDescription(answer);
