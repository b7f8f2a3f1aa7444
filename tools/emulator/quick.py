"""What makes the emulator's C sources quicker, and changes nothing that a chip can see.

The sources are generated from Cython; some lines of them, passed once per emulated instruction,
go through the interpreter although all they need is at hand in C: whether the run is to stop,
whether a branch is taken, the next instruction's word, a clock on which nothing is due, the
divider.
`improved()` replaces these lines. native.py compiles the result; where a line is not as it is
known here (another release of rp2040py), the sources stay as they are, and slower. A test
compares memory, time and cycles with what the wheel's own modules give.
"""

from __future__ import annotations

_CORE = "__pyx_f_8rp2040py_6native_15_cortex_m0_core_"
_BIT = "__pyx_f_8rp2040py_6native_4_bit_"
_LOOP = "__pyx_v_8rp2040py_6native_10_simulator_BATCH_INSTRUCTION_CEILING"
_CHIP = "__pyx_v_self->rp2040"
_MCU = f"((struct __pyx_vtabstruct_8rp2040py_6native_7_rp2040_RP2040 *){_CHIP}->__pyx_vtab)"
_TIME = "8rp2040py_6native_17_simulation_clock_SimulationClock"
_CLOCK = f"((struct __pyx_vtabstruct_{_TIME} *)__pyx_v_clock->__pyx_vtab)"

# `simulator.stopped` is an attribute with a slot of its own (chip.py's _Batch): read the slot.
_STOPPED = """  PyObject **tg_stopped = NULL;
  {
    PyObject *tg = PyObject_GetAttrString((PyObject *)Py_TYPE(__pyx_v_simulator), "stopped");
    if (tg == NULL) PyErr_Clear();
    else if (Py_IS_TYPE(tg, &PyMemberDescr_Type))
      tg_stopped = (PyObject **)((char *)__pyx_v_simulator
                                 + ((PyMemberDescrObject *)tg)->d_member->offset);
    Py_XDECREF(tg);
  }
"""

# Memory is handed to these as views of some hundred bytes each, by value, through a pointer.
_MEMORY = f"""
#define {_BIT}read_uint16_le(s, o, x) tg_read16((const unsigned char *)(s).data + (o))
#define {_BIT}read_uint32_le(s, o, x) tg_read32((const unsigned char *)(s).data + (o))
#define {_BIT}write_uint16_le(s, o, v, x) tg_write16((unsigned char *)(s).data + (o), v)
#define {_BIT}write_uint32_le(s, o, v, x) tg_write32((unsigned char *)(s).data + (o), v)
#define {_BIT}u32(n, x) ((unsigned int)(n))
#define {_BIT}s32(n, x) ((int)(unsigned int)(n))
static inline unsigned int tg_read16(const unsigned char *p) {{ return p[0] | p[1] << 8; }}
static inline unsigned int tg_read32(const unsigned char *p) {{
  return p[0] | p[1] << 8 | p[2] << 16 | (unsigned int)p[3] << 24;
}}
static inline void tg_write16(unsigned char *p, unsigned int v) {{ p[0] = v; p[1] = v >> 8; }}
static inline void tg_write32(unsigned char *p, unsigned int v) {{
  p[0] = v; p[1] = v >> 8; p[2] = v >> 16; p[3] = v >> 24;
}}
"""

# The condition of a branch: a method of Python's otherwise.
_CONDITION = """{
    int tg;
    switch (__pyx_v_cond >> 1) {
      case 0: tg = __pyx_v_core->z; break;
      case 1: tg = __pyx_v_core->c; break;
      case 2: tg = __pyx_v_core->n; break;
      case 3: tg = __pyx_v_core->v; break;
      case 4: tg = __pyx_v_core->c && !__pyx_v_core->z; break;
      case 5: tg = __pyx_v_core->n == __pyx_v_core->v; break;
      case 6: tg = __pyx_v_core->n == __pyx_v_core->v && !__pyx_v_core->z; break;
      default: tg = 1;
    }
    __pyx_t_1 = (__pyx_v_cond & 1) && __pyx_v_cond != 15 ? !tg : tg;
  }"""


def _fetch(to: str, address: str, line: int) -> tuple[str, str]:
    """Instructions come from flash or RAM, nearly always."""
    call = f"{_MCU}->read_uint16({_CHIP}, {address}, 0)"
    error = f"if (unlikely(PyErr_Occurred())) __PYX_ERR(0, {line}, __pyx_L1_error)"
    return (
        f"{to} = {call}; {error}\n",
        f"""{{
    unsigned int tg = {address};
    if (tg - 0x10000000u < {_CHIP}->flash_byte_size)
      {to} = tg_read16((const unsigned char *){_CHIP}->_flash.data + (tg - 0x10000000u));
    else if (tg - 0x20000000u < {_CHIP}->ram_byte_size)
      {to} = tg_read16((const unsigned char *){_CHIP}->_sram.data + (tg - 0x20000000u));
    else {{
      {to} = {call}; {error}
    }}
  }}
""",
    )


_TICK = f"""__pyx_t_4 = {_CLOCK}->tick(__pyx_v_clock, __pyx_v_delta_nanos, 0); \
if (unlikely(!__pyx_t_4)) __PYX_ERR(0, 111, __pyx_L1_error)
        __Pyx_GOTREF(__pyx_t_4);
        __Pyx_DECREF(__pyx_t_4); __pyx_t_4 = 0;
"""
# Nothing is due: only the time goes on.
_QUICK_TICK = f"""double tg_to = __pyx_v_clock->_nanos_counter + __pyx_v_delta_nanos;
        if ((PyObject *)__pyx_v_clock->_next_alarm == Py_None
            || __pyx_v_clock->_next_alarm->nanos > tg_to)
          __pyx_v_clock->_nanos_counter = tg_to;
        else {{
        {_TICK}
        }}
"""

# The divider and the core's number, of which fixes.py's quick_divider() is the same in Python. The
# registers stay where they are, attributes of the block; what is not a whole number is left to it.
_DIVIDER = """
static PyObject *tg_names[5];
static inline long long tg_word(PyObject *block, int name) {
  PyObject *value = PyObject_GetAttr(block, tg_names[name]);
  long long word = -1;
  if (value == NULL) PyErr_Clear();
  else if (PyLong_CheckExact(value))
    word = (long long)(PyLong_AsUnsignedLongLongMask(value) & 0xFFFFFFFFULL);
  Py_XDECREF(value);
  return word;
}
static inline int tg_set(PyObject *block, int name, long long value) {
  PyObject *number = PyLong_FromLongLong(value);
  int bad = number == NULL || PyObject_SetAttr(block, tg_names[name], number);
  Py_XDECREF(number);
  return bad;
}
enum { TG_DIVIDEND, TG_DIVISOR, TG_QUOTIENT, TG_REMAINDER, TG_CSR };
static int tg_ready(void) {
  static const char *const words[] = {
    "div_dividend", "div_divisor", "div_quotient", "div_remainder", "div_csr"};
  if (tg_names[4] == NULL)
    for (int i = 0; i < 5; i++)
      if ((tg_names[i] = PyUnicode_InternFromString(words[i])) == NULL) return 0;
  return 1;
}
/* The word read, or -1: ask Python. */
static long long tg_sio_read(PyObject *block, unsigned int offset) {
  if (offset == 0) return 0;
  if (offset != 0x70 && offset != 0x74 && offset != 0x78 || !tg_ready()) return -1;
  if (offset == 0x78) return tg_word(block, TG_CSR);
  if (offset == 0x74) return tg_word(block, TG_REMAINDER);
  long long quotient = tg_word(block, TG_QUOTIENT), csr = tg_word(block, TG_CSR);
  if (quotient < 0 || csr < 0 || tg_set(block, TG_CSR, csr & ~2LL)) return -1;
  return quotient;
}
/* Whether the word was written: 0 is for Python to do. */
static int tg_sio_write(PyObject *block, unsigned int offset, long long value,
                        unsigned long long *cycles) {
  if (offset != 0x60 && offset != 0x64 || !tg_ready()) return 0;
  long long word = value & 0xFFFFFFFFLL;
  long long other = tg_word(block, offset == 0x60 ? TG_DIVISOR : TG_DIVIDEND);
  long long dividend = offset == 0x60 ? word : other, divisor = offset == 0x60 ? other : word;
  if (dividend < 0 || divisor <= 0) return 0;
  if (tg_set(block, offset == 0x60 ? TG_DIVIDEND : TG_DIVISOR, value)
      || tg_set(block, TG_QUOTIENT, dividend / divisor)
      || tg_set(block, TG_REMAINDER, dividend % divisor) || tg_set(block, TG_CSR, 3)) {
    PyErr_Clear();
    return 0;
  }
  *cycles += 8;
  return 1;
}
"""
_BLOCK = "__pyx_t_5 = __Pyx_PyObject_GetAttrStr(((PyObject *)__pyx_v_self), "
_OFFSET = "(__pyx_v_addr - __pyx_v_8rp2040py_6native_7_rp2040_SIO_START)"


def _sio(line: int, quick: str) -> tuple[str, str]:
    """`quick` goes before line `line`, which asks the block (`__pyx_t_5`)."""
    old = f"{_BLOCK}__pyx_mstate_global->__pyx_n_u_sio); "
    old += f"if (unlikely(!__pyx_t_5)) __PYX_ERR(0, {line}, __pyx_L1_error)\n"
    old += "    __Pyx_GOTREF(__pyx_t_5);\n"
    return old, old + quick


_SIO_READ = f"""    {{
      long long tg = tg_sio_read(__pyx_t_5, {_OFFSET});
      if (tg >= 0) {{
        __Pyx_DECREF(__pyx_t_5); __pyx_t_5 = 0;
        __pyx_r = (unsigned int)tg;
        goto __pyx_L0;
      }}
    }}
"""
_SIO_WRITE = f"""    if (tg_sio_write(__pyx_t_5, {_OFFSET}, __pyx_v_value,
                     &__pyx_v_self->core->cycles)) {{
      __Pyx_DECREF(__pyx_t_5); __pyx_t_5 = 0;
      __pyx_r = Py_None; __Pyx_INCREF(Py_None);
      goto __pyx_L0;
    }}
"""

_HEADER = '#include "Python.h"\n'
_WHILE = f"  while (1) {{\n    __pyx_t_9 = (__pyx_v_i < {_LOOP});\n"
_GET = (
    "__pyx_t_1 = __Pyx_PyObject_GetAttrStr("
    "__pyx_v_simulator, __pyx_mstate_global->__pyx_n_u_stopped);"
)
# No class is derived from these in Python, so none overrides their methods.
_OVERRIDDEN = ("if (unlikely(__pyx_skip_dispatch)) ;", "if (1) ;")

# by file: text, what it becomes, how often it is there
CHANGES: dict[str, tuple[tuple[str, str, int], ...]] = {
    "_simulator.c": (
        (_HEADER, _HEADER + '#include "structmember.h"\n', 1),
        (_WHILE, _STOPPED + _WHILE, 1),
        (
            _GET,
            "if (tg_stopped && *tg_stopped) { __pyx_t_1 = *tg_stopped; Py_INCREF(__pyx_t_1); }\n"
            "    else " + _GET,
            1,
        ),
        (_TICK, _QUICK_TICK, 1),
    ),
    "_cortex_m0_core.c": (
        (_HEADER, _HEADER + _MEMORY, 1),
        (
            f"__pyx_t_1 = {_CORE}check_condition(__pyx_v_core, __pyx_v_cond);",
            _CONDITION,
            1,
        ),
        (*_fetch("__pyx_t_10", "__pyx_v_opcode_pc", 548), 1),
        (*_fetch("__pyx_t_11", "(__pyx_v_opcode_pc + 2)", 550), 1),
        (*_OVERRIDDEN, 3),
    ),
    "_rp2040.c": (
        (_HEADER, _HEADER + _MEMORY + _DIVIDER, 1),
        (*_OVERRIDDEN, 6),
        (*_sio(545, _SIO_READ), 1),
        (*_sio(607, _SIO_WRITE), 1),
    ),
}


def improved(name: str, text: str) -> str | None:
    """The text of the C source `name` with its quicker lines; None when it is another text."""
    for old, new, times in CHANGES.get(name, ()):
        if text.count(old) != times:
            return None
        text = text.replace(old, new)
    return text
