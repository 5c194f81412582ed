"""What Beam works out again at every look, kept: half of the time of a job as small as the tests' jobs are.

It asks each step eight times for the parameters of all its methods, and parses all flags whenever it looks at one.
"""

import contextlib
import copy
import weakref

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core


@contextlib.contextmanager
def kept():
    """Look once at each function, and once at the flags for each class of options, while the block runs."""
    looked, parsed = weakref.WeakKeyDictionary(), {}
    look = core.get_function_args_defaults

    def parameters(function):
        plain = getattr(function, "__func__", function)  # methods of all instances are alike
        found = looked.setdefault(plain, {})
        bound = plain is not function
        if bound not in found:
            found[bound] = look(function)
        return tuple(map(list, found[bound]))

    def view_as(options, kind):
        flags = (kind, *options._flags)
        if flags not in parsed:
            parsed[flags] = kind(options._flags)._visible_options
        view = object.__new__(kind)
        view._flags, view._visible_options = options._flags, parsed[flags]
        for name in view._visible_option_list():
            if name not in options._all_options:  # a copy: some are lists, which runners add to
                options._all_options[name] = copy.deepcopy(getattr(parsed[flags], name))
        view._all_options = options._all_options
        return view

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "get_function_args_defaults", parameters)
        patch.setattr(PipelineOptions, "view_as", view_as)
        yield
