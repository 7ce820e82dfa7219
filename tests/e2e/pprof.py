"""Reads pprof's profile.proto: written from the public description of the format, so that the tests do not check
unfreed's profiles with unfreed's own reader."""

import gzip


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(data):
    """Yields (field number, value): int for varints, bytes for the rest."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            value = data[at:at + length]
            assert len(value) == length, "a field runs over the end"
            at += length
        else:
            raise ValueError(f"wire type {key & 7} is not used by profile.proto")
        yield key >> 3, value


def numbers(value):
    """A repeated number: packed, or one element."""
    if isinstance(value, int):
        return [value]
    out, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        out.append(number)
    return out


def message(data, repeated=()):
    out = {number: [] for number in repeated}
    for number, value in fields(data):
        if number in repeated:
            out[number].append(value)
        else:
            out[number] = value
    return out


class Frame:
    def __init__(self, function, file, line, module, address):
        self.function, self.file, self.line, self.module, self.address = function, file, line, module, address

    def __repr__(self):
        return self.function or f"{self.module}+{self.address:#x}"


class Sample:
    def __init__(self, frames, values, labels):
        self.frames = frames  # leaf first, inlined frames each on their own
        self.alloc_objects, self.alloc_space, self.inuse_objects, self.inuse_space = values
        self.labels = labels

    @property
    def names(self):
        return [repr(frame) for frame in self.frames]


class Profile:
    def __init__(self, path):
        with gzip.open(path) as file:
            data = file.read()
        top = message(data, repeated=(1, 2, 3, 4, 5, 6, 13))
        strings = [value.decode() for value in top[6]]
        assert strings[0] == ""
        self.sample_types = []
        for value in top[1]:
            kind = message(value)
            self.sample_types.append((strings[kind.get(1, 0)], strings[kind.get(2, 0)]))
        self.default_sample_type = strings[top.get(14, 0)]
        self.comments = [strings[number] for value in top[13] for number in numbers(value)]
        self.duration_nanos = top.get(10, 0)
        self.mappings = {}
        for value in top[3]:
            mapping = message(value)
            self.mappings[mapping[1]] = (strings[mapping.get(5, 0)], strings[mapping.get(6, 0)])
        functions = {}
        for value in top[5]:
            function = message(value)
            functions[function[1]] = (strings[function.get(2, 0)], strings[function.get(4, 0)])
        locations = {}
        for value in top[4]:
            location = message(value, repeated=(4,))
            module = self.mappings[location[2]][0] if location.get(2) else ""
            lines = [message(line) for line in location[4]]
            locations[location[1]] = [
                Frame(*functions[line[1]], line.get(2, 0), module, location.get(3, 0)) for line in lines
            ] or [Frame("", "", 0, module, location.get(3, 0))]
        self.samples = []
        for value in top[2]:
            sample = message(value, repeated=(1, 2, 3))
            frames = [frame for ids in sample[1] for number in numbers(ids) for frame in locations[number]]
            values = [signed(number) for packed in sample[2] for number in numbers(packed)]
            labels = {}
            for label in map(message, sample[3]):
                labels[strings[label[1]]] = strings[label[2]] if 2 in label else signed(label.get(3, 0))
            self.samples.append(Sample(frames, values, labels))

    def total(self, value):
        return sum(getattr(sample, value) for sample in self.samples)

    @property
    def lost(self):
        return [comment for comment in self.comments if comment.startswith("lost: ")]
