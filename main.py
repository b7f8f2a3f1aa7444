# Runs the firmware. Whatever escapes it: relays open, cause recorded, reset.


def _open_relays():
    import machine

    from firmware.board import relay_pins

    for pin in relay_pins():
        machine.Pin(pin, machine.Pin.OUT, value=0)


def _record(error):
    import sys

    sys.print_exception(error)
    try:
        import io

        from firmware.storage import files

        files.defer(None)  # no stage counts any more: the relays are open
        text = io.StringIO()
        sys.print_exception(error, text)
        files.make_folder("data")
        files.write("data/crash.txt", text.getvalue()[-600:], previous=False)
    except Exception as also:  # the flash may be what is broken
        sys.print_exception(also)


def _main():
    try:
        from firmware import pieces

        pieces.make_room()
        from firmware.app import App

        app = App()
        app.run()
        return
    except KeyboardInterrupt:
        _open_relays()
        print("interrupted: all relays are open")
        return
    except BaseException as error:
        try:
            _open_relays()
            _record(error)
        except BaseException as also:  # whatever happens here, the reset below opens them
            print(also)
    import time

    import machine

    time.sleep_ms(1000)  # a crash at every start must not wear the flash out
    machine.reset()


_main()
