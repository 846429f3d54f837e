"""Wrong answers to lesson 07's exercises, by the mistake each makes."""

WRONG = {
    "07.2": {
        "fails where something is missing": "def answer(metrics, found):\n"
        "    return metrics['base']['fingerprint'] == found",
        "accepts what is not known": "def answer(metrics, found):\n"
        "    base = metrics.get('base', {})\n"
        "    return base.get('fingerprint', found) == found",
        "asks for the name": "def answer(metrics, found):\n"
        "    return metrics.get('base', {}).get('model') == 'phi'",
    },
    "07.3": {
        "weights only": "answer = {'adapter_model.bin'}",
        "forgot the settings": "answer = {'adapter_model.bin', 'optimizer.pt', "
        "'rng_state.pth'}",
        "suspects safetensors": "answer = {'adapter_model.bin', 'optimizer.pt', "
        "'rng_state.pth', 'training_args.bin', 'adapter_model.safetensors'}",
    },
}
