.POSIX:
include config.mk

# Never _GNU_SOURCE: it changes strerror_r(3).
STD = -std=c99 -D_XOPEN_SOURCE=700 -D_DEFAULT_SOURCE -D_BSD_SOURCE
DEFS = -DVERSION='"$(VERSION)"' -DSTATEDIR='"$(STATEDIR)"' \
	-DCONFFILE='"$(CONFFILE)"' -DSTACK_SIZE=$(STACK)
# The TLS library: its files, and what they are linked with.
TLSOBJ_bearssl = tls_bearssl.o tls_bearkeys.o jwtsig_bearssl.o $(JWTED_$(SSH))
TLSOBJ_libtls = tls_libtls.o jwtsig_libtls.o
TLSOBJ_none = tls_none.o jwtsig_none.o
TLSLIBS_bearssl = -lbearssl
TLSLIBS_libtls = -ltls -lcrypto
# SSH likewise.
SSHOBJ_yes = sshcrypt.o sshwire.o sshkey.o sshkex.o sshauth.o sshtrans.o ssh.o sshin.o sshout.o sshtcp.o sshlink.o sshsess.o sshkeys.o sshpriv.o sshallow.o sshterm.o sshforward.o sshfront.o vtunnel.o vtunnelauth.o agentvtunnel.o
SSHOBJ_no = ssh_none.o sshfront_none.o agentvtunnel_none.o
JWTED_yes = jwted_sodium.o
JWTED_no = jwted_none.o
SSHLIBS_yes = -lsodium -lbearssl
SSHTESTS_yes = test/sshcrypt_test test/sshwire_test test/sshtrans_test test/ssh_test test/sshstrict_test test/sshkeys_test test/sshterm_test
SSHHELPERS_yes = test/sshpeer
LIBS = $(LDLIBS) $(TLSLIBS_$(TLS)) $(SSHLIBS_$(SSH))
# Without tables for C++ exceptions: a seventh of a program.
OWN = $(STD) -pthread -fno-asynchronous-unwind-tables $(SECTIONS) $(WARN) $(DEFS) $(CPPFLAGS) $(CFLAGS)
LINK = $(CC) $(SMALL) $(OWN) $(GC) $(LDFLAGS)

# Pure files, then connections, then the core, the client last.
OBJ = buf.o sha1.o sha256.o base64.o json.o jsonscan.o cidr.o http.o httpbody.o \
	reverse.o rewrite.o proxyproto.o netrule.o ws.o handshake.o yamux.o query.o origin.o scope.o tokens.o pem.o der.o x509.o guard.o \
	jwtkey.o jwt.o jwks.o loglimit.o \
	clock.o deadline.o random.o file.o sink.o log.o opt.o completion.o wake.o workers.o watch.o ready_$(READY).o \
	sandbox_$(SANDBOX).o net.o conn.o tlsconn.o tlstrust.o $(TLSOBJ_$(TLS)) \
	proxy.o target.o direct.o queue.o wspipe.o bridge.o link.o linkframe.o linkout.o stream.o content.o message.o msgfields.o msgin.o parcel.o msglink.o \
	bifrostmsg.o bifrosttoken.o clientmsg.o vtunnelmsg.o vtunnelkeys.o proxymap.o pipegatemsg.o pipegateans.o pipegatecli.o wsproxymsg.o wsproxyans.o pieces.o wsraw.o mux.o muxin.o pump.o tcp.o \
	fetch.o store.o revoked.o auth.o jwtauth.o limit.o backoff.o registry.o names.o pending.o takeover.o control.o exchange.o exchangeend.o request.o response.o \
	access.o caller.o calleranswer.o callerfrom.o login.o route.o ports.o portcall.o relay.o relayto.o connect.o urls.o native.o webgate.o bifrost.o pipegate.o wsproxy.o daemon.o daemonend.o server.o local.o localin.o serve.o rawlocal.o \
	msgclient.o reach.o agent.o agentnative.o agentmsg.o client.o clientrun.o relayclient.o $(SSHOBJ_$(SSH))
# Where every byte of a stream or every head goes through: bench's ir_daemon and ir_client tell.
HOT = buf.o http.o rewrite.o ws.o pump.o linkframe.o linkout.o mux.o muxin.o
HDR = access.h agent.h auth.h backoff.h base64.h be32.h bifrost.h bridge.h bifrostmsg.h bifrosttoken.h \
	budget.h buf.h caller.h cidr.h clientmsg.h clock.h completion.h conn.h connect.h content.h control.h daemon.h \
	deadline.h der.h direct.h exchange.h fetch.h file.h guard.h handshake.h http.h json.h jsonscan.h \
	jwks.h jwt.h jwtauth.h jwted.h jwtkey.h jwtsig.h limit.h link.h \
	linkint.h local.h localint.h log.h login.h loglimit.h message.h msgclient.h msgfields.h msgin.h msglink.h mux.h muxint.h \
	native.h net.h netrule.h opt.h origin.h parcel.h pem.h pending.h pieces.h pipegate.h pipegatemsg.h ports.h proxy.h proxymap.h proxyproto.h pump.h query.h queue.h random.h ready.h \
	registry.h registryint.h relay.h relayint.h request.h revoked.h reverse.h rewrite.h route.h sandbox.h scope.h sha1.h sha256.h sink.h \
	ssh.h sshallow.h sshcrypt.h sshfront.h sshfrontint.h sshint.h sshkex.h sshkey.h sshkeys.h sshlink.h sshpriv.h sshsess.h sshterm.h sshtcp.h sshtrans.h sshwire.h store.h stream.h takeover.h target.h tcp.h \
	tls_bearssl.h tlsconn.h tlsint.h tokens.h tunnel.h urls.h vtunnel.h vtunnelint.h vtunnelkeys.h vtunnelmsg.h wake.h watch.h webgate.h workers.h ws.h wspipe.h \
	wsproxy.h wsproxymsg.h wsraw.h x509.h yamux.h
DAEMON = tunneld.o daemonopt.o command.o jwtcmd.o privileges.o supervise.o notify.o activate.o
# The client verifies no JWT: it does not drag libsodium in for that.
CLIENT = jwted_none.o tunnel.o saved.o show.o runner.o relaycmd.o keygen.o
TESTS = test/backoff_test test/base64_test test/bifrostmsg_test test/body_test test/cidr_test test/clientmsg_test test/guard_test test/handshake_test \
	test/http_test test/json_test test/jsonscan_test test/jwks_test test/jwt_test test/jwtkey_test \
	test/limit_test test/link_test test/netrule_test \
	test/linkidle_test test/log_test test/loglimit_test test/opt_test test/origin_test \
	test/pem_test test/pending_test test/pieces_test test/pipegatemsg_test test/proxy_test test/proxymap_test test/proxyproto_test test/reverse_test test/rewrite_test \
	test/sandbox_test test/scope_test test/sha1_test test/sha256_test test/store_test \
	test/vtunnelmsg_test test/wake_test test/watch_test test/ws_test test/wsproxymsg_test test/x509_test test/yamux_test $(SSHTESTS_$(SSH))
HELPERS = test/wsecho test/tunneld-clock test/tunneld-strict test/tunnel-clock $(SSHHELPERS_$(SSH))
BENCHES = bench/load bench/sink bench/delay bench/sessions

all: tunneld tunnel lib/libtunnel.a

.SUFFIXES: .c .o

.c.o:
	$(CC) `case " $(HOT) " in *" $@ "*) echo $(FAST);; *) echo $(SMALL);; esac` $(OWN) -I. -c -o $@ $<

# A test program: one file and the library.
.c:
	$(LINK) -I. -o $@ $< libtunnel.a $(LIBS)

$(OBJ) $(DAEMON) $(CLIENT) demo.o test/clock.o: $(HDR) cli.h privileges.h tunneld.h supervise.h notify.h activate.h config.mk

libtunnel.a: $(OBJ)
	rm -f $@
	$(AR) rc $@ $(OBJ)

# What is installed: of the archive what tunnel.h wants, as one object in which nothing but its names can be seen from outside. Without
# an objcopy that can do that, all of them can.
lib/libtunnel.a: libtunnel.a
	mkdir -p lib
	rm -f $@ lib/*.o
	$(LD) -r -o lib/tunnel.o -u tunnel_new -u tunnel_run -u tunnel_relay -u tunnel_server_new libtunnel.a
	$(OBJCOPY) -w --keep-global-symbol='tunnel_*' lib/tunnel.o || echo "its own names are seen, too" >&2
	$(AR) rc $@ lib/tunnel.o
	rm -f lib/*.o

tunneld: $(DAEMON) libtunnel.a
	$(LINK) -o $@ $(DAEMON) libtunnel.a $(LIBS)

tunnel: $(CLIENT) libtunnel.a
	$(LINK) -o $@ $(CLIENT) libtunnel.a $(LIBS)

# For .ci/run, where there are the headers of SSH's libraries alone.
sshobjects: $(SSHOBJ_yes)

hello: demo.o libtunnel.a
	$(LINK) -o $@ demo.o libtunnel.a $(LIBS)

# The daemon and the client with a clock that a test can move: the library's is not taken.
test/tunneld-clock: $(DAEMON) test/clock.o libtunnel.a
	$(LINK) -o $@ $(DAEMON) test/clock.o libtunnel.a $(LIBS)

test/tunnel-clock: $(CLIENT) test/clock.o libtunnel.a
	$(LINK) -o $@ $(CLIENT) test/clock.o libtunnel.a $(LIBS)

# The daemon that dies of a system call which its sandbox does not expect.
test/tunneld-strict: $(DAEMON) sandbox_$(SANDBOX).c libtunnel.a
	$(LINK) -I. -DSANDBOX_ELSE=0x80000000U -o $@ $(DAEMON) sandbox_$(SANDBOX).c libtunnel.a $(LIBS)

$(TESTS) test/wsecho $(SSHHELPERS_$(SSH)): libtunnel.a test/test.h test/msgtest.h test/linkrig.h test/sshpair.h test/sshrig.h test/sshtalk.h test/sshtest.h test/x509_certs.h $(HDR)
$(BENCHES): libtunnel.a bench/bench.h bench/hist.h $(HDR)

# The README's two commands: they install what is missing, or say how.
demo:
	./setup.sh build
	$(MAKE) all hello
	./demo.sh $(ONCE)

test:
	./setup.sh test
	$(MAKE) check

check: all $(TESTS) $(HELPERS)
	TLS=$(TLS) SSH=$(SSH) READY=$(READY) ./test/run.sh

# Figures beside nginx and ssh, in 7 to 8 minutes: bench/README.md. make bench ARGS='--only get32'
bench:
	./setup.sh bench
	$(MAKE) all $(BENCHES)
	./bench/bench.py $(ARGS)

# Three packages for Debian; and programs that need no library, in the folder static: contrib/README.md.
deb:
	MAKE="$(MAKE)" ./contrib/debian/build.sh

static:
	MAKE="$(MAKE)" CC="$(CC)" TLS="$(TLS)" SSH="$(SSH)" ./contrib/static/build.sh

# -f: over programs that run, too, as before tunneld --takeover
install: all
	mkdir -p $(DESTDIR)$(PREFIX)/bin
	cp -f tunneld tunnel $(DESTDIR)$(PREFIX)/bin
	chmod 755 $(DESTDIR)$(PREFIX)/bin/tunneld $(DESTDIR)$(PREFIX)/bin/tunnel
	mkdir -p $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include
	cp lib/libtunnel.a $(DESTDIR)$(LIBDIR)
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$${prefix}/include' '' 'Name: libtunnel' \
		'Description: tunnels to local services behind NAT, client and server' 'Version: $(VERSION)' \
		'Cflags: -I$${includedir} -pthread' 'Libs: -L$${libdir} -ltunnel -pthread $(LIBS)' \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/libtunnel.pc
	cp tunnel.h $(DESTDIR)$(PREFIX)/include
	chmod 644 $(DESTDIR)$(LIBDIR)/libtunnel.a $(DESTDIR)$(LIBDIR)/pkgconfig/libtunnel.pc $(DESTDIR)$(PREFIX)/include/tunnel.h
	for n in 1 3 5 7 8; do mkdir -p $(DESTDIR)$(MANPREFIX)/man$$n && \
		cp man/*.$$n $(DESTDIR)$(MANPREFIX)/man$$n && \
		(cd man && for f in *.$$n; do \
		chmod 644 $(DESTDIR)$(MANPREFIX)/man$$n/$$f; done) || exit 1; done
	mkdir -p $(DESTDIR)$(BASHCOMPDIR) $(DESTDIR)$(ZSHCOMPDIR) $(DESTDIR)$(FISHCOMPDIR)
	for p in tunneld tunnel; do \
		./$$p completion bash >$(DESTDIR)$(BASHCOMPDIR)/$$p && \
		./$$p completion zsh >$(DESTDIR)$(ZSHCOMPDIR)/_$$p && \
		./$$p completion fish >$(DESTDIR)$(FISHCOMPDIR)/$$p.fish && \
		chmod 644 $(DESTDIR)$(BASHCOMPDIR)/$$p $(DESTDIR)$(ZSHCOMPDIR)/_$$p \
		$(DESTDIR)$(FISHCOMPDIR)/$$p.fish || exit 1; done
	mkdir -p $(DESTDIR)$(DOCDIR)/examples
	cp -pR examples/* $(DESTDIR)$(DOCDIR)/examples

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/tunneld $(DESTDIR)$(PREFIX)/bin/tunnel
	rm -f $(DESTDIR)$(LIBDIR)/libtunnel.a $(DESTDIR)$(LIBDIR)/pkgconfig/libtunnel.pc $(DESTDIR)$(PREFIX)/include/tunnel.h
	cd man && for f in *.[13578]; do \
		rm -f $(DESTDIR)$(MANPREFIX)/man$${f##*.}/$$f; done
	for p in tunneld tunnel; do rm -f $(DESTDIR)$(BASHCOMPDIR)/$$p \
		$(DESTDIR)$(ZSHCOMPDIR)/_$$p $(DESTDIR)$(FISHCOMPDIR)/$$p.fish; done
	cd examples && for f in * */*; do \
		[ -d $$f ] || rm -f $(DESTDIR)$(DOCDIR)/examples/$$f; done
	-cd $(DESTDIR)$(DOCDIR) && rmdir examples/* examples
	-rmdir $(DESTDIR)$(DOCDIR)

dist: clean
	mkdir -p tunnel-$(VERSION)
	cp -R *.c *.h *.sh Makefile config.mk LICENSE README.md .gitignore .ci man examples contrib test bench \
		tunnel-$(VERSION)
	tar -cf - tunnel-$(VERSION) | gzip >tunnel-$(VERSION).tar.gz
	rm -rf tunnel-$(VERSION)

clean:
	rm -f *.o test/*.o libtunnel.a tunneld tunnel hello $(TESTS) $(HELPERS) $(BENCHES) \
		$(SSHTESTS_yes) $(SSHHELPERS_yes)
	rm -f tunneld_*.deb tunnel_*.deb libtunnel-dev_*.deb
	rm -rf lib static tunnel-$(VERSION) tunnel-$(VERSION).tar.gz test/peer/__pycache__ \
		bench/__pycache__ bench/result.json

.PHONY: all sshobjects demo test check bench deb static install uninstall dist clean
