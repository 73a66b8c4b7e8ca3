"""Two real users: who may write to whose slot. Needs root, to become others."""

import json
import os
import pwd
import shutil
import unittest

from support import DONE, ERROR, LIMIT, NOT_ALLOWED, EndToEnd, main

ALICE, BOB, STAFF = 64001, 64002, 64010


@unittest.skipUnless(os.geteuid() == 0, "only root can become other users")
class Users(EndToEnd):
    def setUp(self):
        super().setUp()
        # As the machine-wide folder is: everybody may have slots in it.
        self.folder.chmod(0o755)
        self.slots.chmod(0o1777)
        program = self.folder / "mailroom"
        shutil.copy(self.program, program)
        program.chmod(0o755)
        self.program = program

    @staticmethod
    def as_user(uid, groups=()):
        return {"user": uid, "group": uid, "extra_groups": list(groups), "cwd": "/"}

    def test_owner_only(self):
        listener = self.listen("a", **self.as_user(ALICE))
        self.assertIn("MR_E_", self.send("a", "from bob", "--owner", str(ALICE), code=NOT_ALLOWED,
                                         **self.as_user(BOB)).stderr.decode())
        self.send("a", "from alice", **self.as_user(ALICE))
        self.assertEqual(listener.line(), b"from alice\n")

    def test_everyone(self):
        listener = self.listen("a", arguments=["--access", "everyone", "--json"], **self.as_user(ALICE))
        self.send("a", "from bob", "--owner", str(ALICE), **self.as_user(BOB))
        message = self.messages(listener, 1)[0]
        self.assertEqual((message["text"], message["uid"], message["gid"]), ("from bob", BOB, BOB))

    def test_group(self):
        listener = self.listen("a", arguments=["--access", f"group:{STAFF}"], **self.as_user(ALICE, [STAFF]))
        self.send("a", "from bob", "--owner", str(ALICE), code=NOT_ALLOWED, **self.as_user(BOB))
        self.send("a", "from bob in staff", "--owner", str(ALICE), **self.as_user(BOB, [STAFF]))
        self.assertEqual(listener.line(), b"from bob in staff\n")

    def test_list_of_users(self):
        listener = self.listen("a", arguments=["--access", f"list:{BOB}"], **self.as_user(ALICE))
        self.send("a", "from bob", "--owner", str(ALICE), **self.as_user(BOB))
        self.assertEqual(listener.line(), b"from bob\n")

    def test_list_of_groups(self):
        listener = self.listen("a", arguments=["--access", f"list:@{STAFF}"], **self.as_user(ALICE))
        self.send("a", "from bob in staff", "--owner", str(ALICE), **self.as_user(BOB, [STAFF]))
        self.assertEqual(listener.line(), b"from bob in staff\n")

    def test_listed_out_is_disconnected_and_counted(self):
        listener = self.listen("a", arguments=["--access", f"list:{ALICE}"], **self.as_user(ALICE))
        code = ("import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); "
                "s.settimeout(20); sys.exit(0 if s.recv(1) == b'' else 1)")
        client = self.start_other("/usr/bin/python3", "-c", code, self.path("a"), **self.as_user(BOB))
        self.assertEqual(client.wait(), DONE, client.error_text())
        self.until(lambda: self.list()["a"]["refused"] == 1, "the refusal is counted")
        self.send("a", "from alice", **self.as_user(ALICE))
        self.assertEqual(listener.line(), b"from alice\n")

    def test_root_may_always(self):
        listener = self.listen("a", **self.as_user(ALICE))
        self.send("a", "from root", "--owner", str(ALICE))
        self.assertEqual(listener.line(), b"from root\n")

    def test_a_squatted_name_gets_nothing(self):
        squatter = self.listen("bank", arguments=["--access", "everyone"], **self.as_user(BOB))
        for options in ({}, self.as_user(ALICE)):
            result = self.send("bank", "secret", code=NOT_ALLOWED, **options)
            self.assertIn("MR_E_OWNER", result.stderr.decode())
        self.send("bank", "from bob himself", **self.as_user(BOB))
        self.assertEqual(squatter.line(), b"from bob himself\n")

    def test_owner_by_name(self):
        name = pwd.getpwnam("nobody")
        listener = self.listen("a", arguments=["--access", "everyone"], user=name.pw_uid, group=name.pw_gid,
                               extra_groups=[], cwd="/")
        self.send("a", "trusted", "--owner", "nobody")
        self.assertEqual(listener.line(), b"trusted\n")

    def test_a_slot_of_another_user_is_not_taken_over(self):
        first = self.listen("a", **self.as_user(ALICE))
        second = self.run_mailroom("listen", "a", code=None, **self.as_user(BOB))
        self.assertIn(second.returncode, (ERROR, NOT_ALLOWED))
        self.assertIn(str(first.pid), second.stderr.decode())

    def test_both_find_both(self):
        self.listen("roots")
        self.listen("alices", **self.as_user(ALICE))
        for options in ({}, self.as_user(ALICE), self.as_user(BOB)):
            result = self.run_mailroom("list", "--json", **options)
            found = {json.loads(line)["slot"] for line in result.stdout.splitlines()}
            self.assertEqual(found, {"roots", "alices"})
            self.assertTrue(self.run_mailroom("path", "roots", **options).stdout)

    def test_plain_client_of_another_user(self):
        listener = self.listen("a", arguments=["--access", "everyone", "--json"])
        code = ("import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); "
                "s.send(b'plain')")
        client = self.start_other("/usr/bin/python3", "-c", code, self.path("a"), **self.as_user(BOB))
        self.assertEqual(client.wait(LIMIT), DONE, client.error_text())
        self.assertEqual(self.messages(listener, 1)[0]["uid"], BOB)

    def test_plain_client_that_may_not(self):
        self.listen("a")
        code = ("import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                "try: s.connect(sys.argv[1])\nexcept PermissionError: sys.exit(7)")
        client = self.start_other("/usr/bin/python3", "-c", code, self.path("a"), **self.as_user(BOB))
        self.assertEqual(client.wait(LIMIT), 7, client.error_text())


main("users")
