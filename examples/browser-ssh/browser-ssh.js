// Both ends of tunneld's WebSockets for browsers, without a library: /relay, which is a TCP connection
// to somewhere else, and /tunnel, by which others reach this page.
"use strict";

const $ = (id) => document.getElementById(id);
const utf8 = new TextEncoder();

// ---- what both have in common

function endpoint(path, more) {
	const url = new URL(path, $("url").value);
	for (const [name, value] of Object.entries({...more, token: $("token").value}))
		if (value !== "")
			url.searchParams.set(name, value);
	return url;
}

function open(url) {
	const ws = new WebSocket(url);
	ws.binaryType = "arraybuffer";
	return ws;
}

function tell(output, kind, text) {
	output.className = kind;
	output.textContent = text;
}

// A browser does not say why a WebSocket was refused. Asked for without an upgrade, the daemon says it,
// if this page's origin may read it: 426 if all was well but for the upgrade.
async function refusal(url) {
	try {
		const plain = new URL(url);
		plain.protocol = plain.protocol.replace("ws", "http");
		const answer = await fetch(plain, {cache: "no-store", credentials: "omit"});
		if (answer.status !== 426)
			return `Refused: ${answer.status} ${(await answer.text()).trim()}`;
		return "Refused: the target is not allowed, this page's origin is not, or there are too many connections.";
	} catch {
		return "No answer: is the address right, and may this page's origin (--origin) use it?";
	}
}

async function ended(event, url, opened) {
	if (!opened)
		return refusal(url);
	return `Closed: ${event.code}${event.reason ? " " + event.reason : ""}`;
}

// ---- /relay: the bytes of a TCP connection

// The identification line of RFC 4253, 4.2: others may come before it.
function identification(text) {
	return /^SSH-[^\n]*(?=\n)/m.exec(text)?.[0].trimEnd();
}

let attempt = null;

function relay() {
	const url = endpoint("/relay", {host: $("host").value, port: $("port").value});
	const out = $("identification"), decoder = new TextDecoder();
	const ws = open(url), patience = setTimeout(() => finish("bad", "No SSH server: it says nothing."), 10000);
	let text = "", opened = false;

	function finish(kind, what) {
		clearTimeout(patience);
		ws.onmessage = ws.onclose = null;
		ws.close();
		if (attempt === ws)	// the user has not begun another
			tell(out, kind, what);
	}

	attempt?.close();
	attempt = ws;
	tell(out, "", "Connecting …");
	ws.onopen = () => { opened = true; };
	ws.onmessage = (event) => {
		text += decoder.decode(event.data, {stream: true});	// pieces may end anywhere
		const line = identification(text);
		if (line)
			finish("good", line);
		else if (text.length > 8192)
			finish("bad", "No SSH server: it says something else.");
	};
	ws.onclose = async (event) => finish("bad", await ended(event, url, opened));
}

// ---- /tunnel: control messages are JSON in text, raw connections' bytes are binary

// A data frame: the length of the connection's id in four bytes, the id, the bytes.
function frame(id, bytes) {
	const data = new Uint8Array(4 + id.length + bytes.length);
	new DataView(data.buffer).setUint32(0, id.length);
	data.set(utf8.encode(id), 4);
	data.set(bytes, 4 + id.length);
	return data;
}

function visited(what, answer) {
	const row = $("visits").tBodies[0].insertRow(0);
	for (const text of [new Date().toLocaleTimeString(), what, answer])
		row.insertCell().textContent = text;
	while ($("visits").tBodies[0].rows.length > 50)
		$("visits").tBodies[0].deleteRow(-1);
	$("visits").hidden = false;
}

const messages = {
	tunnel_ready(ws, m) {
		const link = $("link"), host = new URL($("url").value).hostname;
		link.textContent = m.tunnelUrl || "no name: the daemon has no --domain";
		if (m.tunnelUrl)
			link.href = m.tunnelUrl;
		else
			link.removeAttribute("href");
		$("raw").textContent = m.rawPort ? `nc ${host} ${m.rawPort}` : "no port: the daemon has no --ports";
		$("addresses").hidden = false;
		tell($("state"), "good", "The tunnel is open until this page goes.");
	},

	http_request(ws, m) {
		const found = m.method === "GET" || m.method === "HEAD";
		ws.send(JSON.stringify({
			type: "http_response", id: m.id, status: found ? 200 : 405,
			headers: {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
			body: found ? `${$("text").value}\n` : "GET, please.\n",
		}));
		visited(`${m.method} ${m.path}`, found ? "200" : "405");
	},

	// A raw connection is told the same; then it ends.
	tcp_open(ws, m) {
		ws.send(frame(m.connId, utf8.encode(`${$("text").value}\n`)));
		ws.send(JSON.stringify({type: "tcp_close", connId: m.connId}));
		visited("TCP connection", "told, and closed");
	},
};

let tunnel = null;

function stop(text, kind) {
	tunnel = null;
	$("toggle").textContent = "Open a tunnel";
	$("addresses").hidden = true;
	tell($("state"), kind, text);
}

function start() {
	const url = endpoint("/tunnel", {control: "text"}), ws = open(url);
	let opened = false;
	tunnel = ws;
	$("toggle").textContent = "Close the tunnel";
	tell($("state"), "", "Opening …");
	ws.onopen = () => { opened = true; };
	ws.onmessage = (event) => {
		if (typeof event.data !== "string")
			return;		// what visitors of the raw port say
		const m = JSON.parse(event.data);
		if (Object.hasOwn(messages, m.type))
			messages[m.type](ws, m);
	};
	ws.onclose = async (event) => {
		const text = await ended(event, url, opened);
		if (tunnel === ws)
			stop(text, event.code === 1000 ? "" : "bad");
	};
}

function toggle() {
	if (!tunnel)
		return start();
	tunnel.close(1000);
	stop("Closed.", "");
}

// A browser may keep a page that was left, its sockets open and nobody awake to answer.
addEventListener("pagehide", () => {
	attempt?.close();
	if (tunnel)
		toggle();
});

// ---- the forms

for (const [id, work] of [["server", () => {}], ["relay", relay], ["tunnel", toggle]])
	$(id).addEventListener("submit", (event) => {
		event.preventDefault();
		if (!$("server").reportValidity())
			return;
		try {
			work();
		} catch (error) {	// an address that no WebSocket can have
			tell($(id).querySelector("output"), "bad", error.message);
		}
	});
