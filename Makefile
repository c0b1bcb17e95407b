.POSIX:
include config.mk

STD = -std=c99 -D_XOPEN_SOURCE=700 -D_DEFAULT_SOURCE -D_BSD_SOURCE
OWN = $(STD) -pthread $(WARN) $(CPPFLAGS) $(CFLAGS)
STACK = 131072
DEFS = -DVERSION='"$(VERSION)"' -DSTATEDIR='"$(STATEDIR)"' \
	-DCONFFILE='"$(CONFFILE)"' -DSTACK_SIZE=$(STACK)

# Pure, then connections, then the core; dependencies point upwards in this list.
OBJ = buf.o sha1.o sha256.o base64.o json.o cidr.o http.o httpbody.o rewrite.o \
	ws.o handshake.o yamux.o scope.o tokens.o \
	clock.o deadline.o random.o file.o log.o opt.o wake.o workers.o \
	net.o conn.o queue.o link.o linkout.o mux.o pump.o store.o auth.o registry.o \
	pending.o control.o exchange.o caller.o native.o local.o agent.o

all: tunneld tunnel

.c.o:
	$(CC) $(OWN) $(DEFS) -c -o $@ $<

libtunnel.a: $(OBJ)
	rm -f $@
	$(AR) rc $@ $(OBJ)

tunneld: tunneld.o libtunnel.a
	$(CC) $(OWN) $(LDFLAGS) -o $@ tunneld.o libtunnel.a $(LDLIBS)

tunnel: tunnel.o libtunnel.a
	$(CC) $(OWN) $(LDFLAGS) -o $@ tunnel.o libtunnel.a $(LDLIBS)

clean:
	rm -f *.o *.a tunneld tunnel
