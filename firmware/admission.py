# Why an outlet may not be switched on, what a shed one waits for, what a lowered limit means: in
# words for people. Called by the outer lane through the controller, which drops the module again.

from micropython import const

_ROOM = const(1)  # dispatch._ROOM, …
_NEVER = const(2)
_RESTARTS = const(3)
_PAUSE = const(4)


def _amount(dispatch, limit, value) -> str:
    return "%d W" % value if limit is dispatch.total else "%.1f A" % (value / 1000)


def _name(controller, limit) -> str:
    dispatch = controller.dispatch
    if limit is dispatch.total:
        return "the total"
    return "leg " + controller.board.legs[dispatch.legs.index(limit)]


def full(controller, index: int, limit, force: bool) -> str:
    """Why `limit` has no room for the demand of outlet `index`."""
    dispatch = controller.dispatch
    demand = dispatch.demand(index, limit)
    name = _name(controller, limit)
    of = _amount(dispatch, limit, limit.limit)
    text = "needs %s as when last on" % _amount(dispatch, limit, demand) if demand else "no room"
    if demand > limit.most():
        text += ", more than all of %s (%s)" % (name, of)
    else:
        carries = _amount(dispatch, limit, dispatch.expected(limit))
        text += ", and %s carries %s of %s" % (name, carries, of)
        if controller.gangs is not None and dispatch.kept(index, limit):
            text += ", beside %s for the car" % _amount(
                dispatch, limit, dispatch.kept(index, limit)
            )
    if dispatch.refuses(index, True) is None:
        return text + " (--force tries)"
    if force:
        text += "; its hard limit is %s, and nothing overrides that" % _amount(
            dispatch, limit, limit.hard()
        )
    return text


def waits(controller, index: int) -> str:
    """What a shed outlet waits for."""
    dispatch = controller.dispatch
    code = dispatch.waits(index)
    if code == _ROOM or code == _NEVER:
        text = full(controller, index, dispatch.lacks(index), False)
        if code == _NEVER:
            text += ", so it cannot come back by itself"
        return "shed: " + text
    if code == _RESTARTS:
        text = "came back %d times within the hour, which is all (shed.restarts)" % (
            dispatch.restarts(index)
        )
    elif code == _PAUSE:
        left = dispatch.min_off_scans // dispatch.scans_per_s - dispatch.off_s(index)
        text = "there is room, but its pause lasts %d s more" % left
    elif controller.outlets[index].thermal.is_hot():
        text = "it has to cool"
    elif controller.conditions.rests(index):
        text = "it was near its limit for hours, and rests"
    else:
        text = "there is room, it comes back soon"
    return "shed: %s (--force tries now)" % text


def unfit(controller) -> str:
    """Which self-test keeps everything open."""
    from firmware import selftest

    word = selftest.parts("report").word(controller.unfit)
    return "the self-test failed (%s), so nothing can be relied on: see selftest" % word


def warning(controller, name: str) -> str:
    """What to tell somebody who has set the limit `name` below the present load, or ""."""
    dispatch = controller.dispatch
    if name.endswith(".limit_a") and name != "leg.limit_a":
        outlet = controller.outlets[controller.board.outlet_index(name[:-8])]
        amps = controller.amps_ma[outlet.index]
        if amps > outlet.limit_ma:
            return "%.1f A flow now: it trips by its curve, unless they fall" % (amps / 1000)
        return ""
    for limit in dispatch.limits:
        if (name == "total.limit_w") == (limit is dispatch.total) and limit.load > limit.limit:
            return "%s carries %s now: what is too much will be shed by the curve" % (
                _name(controller, limit),
                _amount(dispatch, limit, limit.load),
            )
    return ""
