// A small client of the native protocol on the yamux library that named it
// and gorilla/websocket.  Control objects are printed as they come, one a
// line; then {"event":"closed",...}.
//
// Build: GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS= go build -o OUT yamux.go
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

var (
	endpoint = flag.String("endpoint", "", "ws://HOST:PORT of the daemon")
	token    = flag.String("token", "", "bearer token")
	name     = flag.String("name", "", "HTTP name to register")
	target   = flag.String("target", "", "HOST:PORT of the local service")
	kind     = flag.String("kind", "http", "http or tcp")
	port     = flag.Int("port", 0, "port to ask for with -kind tcp")
	instance = flag.String("instance", "", "16 hex digits; random if not given")
	window   = flag.Uint("window", 256*1024, "the library's MaxStreamWindowSize")
	whole    = flag.Bool("whole", false, "one whole frame a message (else a message for each write: header, body)")
	timeout  = flag.Duration("timeout", 30*time.Second, "bound on connecting and on the answer to hello")
	life     = flag.Duration("life", 600*time.Second, "the whole process ends after this")
)

var out sync.Mutex

func say(v interface{}) {
	out.Lock()
	defer out.Unlock()
	line, _ := json.Marshal(v)
	os.Stdout.Write(append(line, '\n'))
}

type event map[string]interface{}

// wsConn makes a byte stream of the binary messages of a WebSocket.
type wsConn struct {
	ws     *websocket.Conn
	reader io.Reader
	frame  []byte // with -whole: what has come of a frame
	once   sync.Once
	code   int // how it was closed
	reason string
}

func (c *wsConn) Read(b []byte) (int, error) {
	for {
		if c.reader == nil {
			kind, r, err := c.ws.NextReader()
			if err != nil {
				var closed *websocket.CloseError
				c.once.Do(func() {
					c.code = 1006
					if errors.As(err, &closed) {
						c.code, c.reason = closed.Code, closed.Text
					}
				})
				return 0, io.EOF
			}
			if kind != websocket.BinaryMessage {
				say(event{"event": "violation", "what": "text message"})
				return 0, errors.New("text message")
			}
			c.reader = r
		}
		n, err := c.reader.Read(b)
		if err == io.EOF {
			c.reader, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *wsConn) Write(b []byte) (int, error) {
	if !*whole {
		return len(b), c.ws.WriteMessage(websocket.BinaryMessage, b)
	}
	c.frame = append(c.frame, b...)
	for len(c.frame) >= 12 {
		size := 12
		if c.frame[1] == 0 {
			size += int(binary.BigEndian.Uint32(c.frame[8:]))
		}
		if len(c.frame) < size {
			break
		}
		if err := c.ws.WriteMessage(websocket.BinaryMessage, c.frame[:size]); err != nil {
			return 0, err
		}
		c.frame = append(c.frame[:0], c.frame[size:]...)
	}
	return len(b), nil
}

func (c *wsConn) Close() error { return c.ws.Close() }

// exchange forwards one HTTP exchange byte for byte.  The response is parsed
// on the way only to find its end; the request needs no parsing at all, since
// its connection serves it alone.
func exchange(stream *yamux.Stream, in *bufio.Reader) {
	defer stream.Close() // the library knows no reset: an early end is a FIN, too
	local, err := net.DialTimeout("tcp", *target, 10*time.Second)
	if err != nil {
		fmt.Fprint(stream, "HTTP/1.1 502 Bad Gateway\r\nX-Tunnel-Error: refused\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer local.Close()
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	method := strings.SplitN(line, " ", 2)[0]
	var upgraded atomic.Bool
	go func() {
		_, err := io.Copy(local, io.MultiReader(strings.NewReader(line), in))
		if upgraded.Load() && err == nil {
			local.(*net.TCPConn).CloseWrite() // the caller's half-close
		} else {
			local.Close() // the exchange is over, or the caller has left
		}
	}()
	answer := bufio.NewReader(io.TeeReader(local, stream))
	for {
		response, err := http.ReadResponse(answer, &http.Request{Method: method})
		if err != nil {
			return
		}
		if response.StatusCode == 101 {
			upgraded.Store(true)
			io.Copy(io.Discard, answer)
			return
		}
		if response.StatusCode >= 200 {
			io.Copy(io.Discard, response.Body)
			return
		}
	}
}

func relay(stream *yamux.Stream, in *bufio.Reader) {
	defer stream.Close()
	local, err := net.DialTimeout("tcp", *target, 10*time.Second)
	if err != nil {
		return
	}
	defer local.Close()
	go func() {
		if _, err := io.Copy(local, in); err == nil {
			local.(*net.TCPConn).CloseWrite()
		} else {
			local.Close()
		}
	}()
	io.Copy(stream, local)
}

func serve(stream *yamux.Stream) {
	in := bufio.NewReaderSize(stream, 65536)
	line, err := in.ReadBytes('\n')
	var preface struct {
		ID   int    `json:"id"`
		Peer string `json:"peer"`
	}
	if err == nil {
		err = json.Unmarshal(line, &preface)
	}
	if err == nil && (preface.ID != 1 || len(line) > 4097) {
		err = errors.New("id or length")
	}
	if _, _, split := net.SplitHostPort(preface.Peer); err == nil {
		err = split
	}
	if err != nil {
		if len(line) > 0 {
			say(event{"event": "violation", "what": fmt.Sprintf("preface %q: %v", line, err)})
		}
		stream.Close()
		return
	}
	if *kind == "tcp" {
		relay(stream, in)
	} else {
		exchange(stream, in)
	}
}

func fail(what string, err error) {
	say(event{"event": what, "error": err.Error()})
	os.Exit(2)
}

func main() {
	flag.Parse()
	time.AfterFunc(*life, func() { os.Exit(3) })
	if *instance == "" {
		b := make([]byte, 8)
		rand.Read(b)
		*instance = hex.EncodeToString(b)
	}
	url := strings.TrimRight(*endpoint, "/") + "/_tunnel"
	if *name != "" {
		url += "/" + *name
	}
	dialer := websocket.Dialer{Subprotocols: []string{"tunnel.v1"}, HandshakeTimeout: *timeout}
	ws, response, err := dialer.Dial(url, http.Header{"Authorization": {"Bearer " + *token}})
	if err != nil {
		if response != nil {
			say(event{"event": "rejected", "status": response.StatusCode})
			os.Exit(2)
		}
		fail("connect_failed", err)
	}
	if ws.Subprotocol() != "tunnel.v1" {
		fail("violation", errors.New("subprotocol"))
	}
	ws.SetReadLimit(1 << 20)
	conn := &wsConn{ws: ws}
	config := yamux.DefaultConfig()
	config.MaxStreamWindowSize = uint32(*window)
	config.LogOutput = os.Stderr
	session, err := yamux.Client(conn, config)
	if err != nil {
		fail("session_failed", err)
	}
	control, err := session.OpenStream()
	if err != nil {
		fail("session_failed", err)
	}
	lines := json.NewEncoder(control)
	lines.Encode(event{"op": "hello", "version": "1.0.0", "agent": "gopeer/1.0.0", "instance": *instance, "endpoint": *endpoint})
	listen := event{"op": "listen", "id": 1, "kind": *kind}
	if *kind == "tcp" {
		listen["port"] = *port
	} else if *name != "" {
		listen["name"] = *name
	}
	lines.Encode(listen)

	greeted := time.AfterFunc(*timeout, func() { fail("violation", errors.New("no hello in time")) })
	go func() {
		scanner := bufio.NewScanner(control)
		scanner.Buffer(nil, 16385)
		for scanner.Scan() {
			greeted.Stop()
			if !json.Valid(scanner.Bytes()) {
				fail("violation", errors.New("control line is no JSON"))
			}
			say(json.RawMessage(append([]byte(nil), scanner.Bytes()...)))
		}
		if scanner.Err() == bufio.ErrTooLong {
			fail("violation", scanner.Err())
		}
	}()
	go func() {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
		<-stop
		time.AfterFunc(5*time.Second, func() { os.Exit(1) })
		session.GoAway()
		ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
	}()
	go func() {
		for {
			stream, err := session.AcceptStream()
			if err != nil {
				return
			}
			go serve(stream)
		}
	}()
	<-session.CloseChan()
	conn.once.Do(func() { conn.code = 1006 })
	say(event{"event": "closed", "code": conn.code, "reason": conn.reason, "streams": session.NumStreams()})
}
