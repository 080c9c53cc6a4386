"""Configurations of tiny models, one for each way of attending: numbers only, so small that one is built at once."""

from __future__ import annotations

from typing import Any, Final

_COMMON: Final[dict[str, Any]] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 512,
    "max_position_embeddings": 65536,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
_EXPERTS: Final[dict[str, Any]] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}


def _config(architecture: str, model_type: str, **numbers: Any) -> dict[str, Any]:
    return {**_COMMON, "architectures": [architecture], "model_type": model_type, **numbers}


CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "multi-head": _config("LlamaForCausalLM", "llama", num_key_value_heads=4),
    "grouped, tied": _config("Qwen3ForCausalLM", "qwen3", tie_word_embeddings=True),
    "grouped, five layers": _config("LlamaForCausalLM", "llama", num_hidden_layers=5),
    "multi-query": {
        "architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 128, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_kv_heads": 4, "multi_query": True, "new_decoder_architecture": False,
        "alibi": False, "bias": False, "parallel_attn": True, "vocab_size": 512, "torch_dtype": "bfloat16",
        "layer_norm_epsilon": 1e-5,
    },
    "experts": _config("Qwen3MoeForCausalLM", "qwen3_moe", decoder_sparse_step=1, mlp_only_layers=[], **_EXPERTS),
    "experts of Mixtral": _config(
        "MixtralForCausalLM", "mixtral", num_local_experts=4, num_experts_per_tok=2, sliding_window=None
    ),
    "window in every layer": _config("MistralForCausalLM", "mistral", sliding_window=1024),
    "window in every second layer": _config(
        "Gemma2ForCausalLM", "gemma2", sliding_window=512, query_pre_attn_scalar=32, tie_word_embeddings=True,
        hidden_activation="gelu_pytorch_tanh", attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    ),
    "windows five to one": _config(
        "Gemma3ForCausalLM", "gemma3_text", num_hidden_layers=8, sliding_window=512, query_pre_attn_scalar=32,
        layer_types=[*["sliding_attention"] * 5, "full_attention", *["sliding_attention"] * 2],
        hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
    ),
    "windows and experts": _config(
        "GptOssForCausalLM", "gpt_oss", num_local_experts=4, num_experts_per_tok=2, sliding_window=128,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "heads differ by kind": _config(
        "Gemma4ForCausalLM", "gemma4_text", num_hidden_layers=6, sliding_window=512, global_head_dim=64,
        num_global_key_value_heads=1, attention_k_eq_v=True, hidden_size_per_layer_input=0,
        layer_types=[*["sliding_attention"] * 5, "full_attention"], hidden_activation="gelu_pytorch_tanh",
        num_kv_shared_layers=0, tie_word_embeddings=True, vocab_size_per_layer_input=512,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    ),
    "chunks": _config(
        "Llama4ForCausalLM", "llama4_text", attention_chunk_size=8192, num_local_experts=4, num_experts_per_tok=1,
        interleave_moe_layer_step=1, intermediate_size_mlp=256, use_qk_norm=True,
        no_rope_layers=[1, 1, 1, 0], attn_temperature_tuning=False,
    ),
    "latent": _config(
        "DeepseekV3ForCausalLM", "deepseek_v3", num_key_value_heads=4, q_lora_rank=64, kv_lora_rank=64,
        qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, n_routed_experts=8, num_experts_per_tok=2,
        n_shared_experts=1, moe_intermediate_size=64, first_k_dense_replace=1, moe_layer_freq=1, n_group=2,
        topk_group=1, topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=True, routed_scaling_factor=2.5,
    ),
    "layers of one part": _config(
        "NemotronHForCausalLM", "nemotron_h", num_hidden_layers=8, hybrid_override_pattern="M-M-M*M-",
        mamba_num_heads=8, mamba_head_dim=32, n_groups=2, ssm_state_size=64, conv_kernel=4, chunk_size=128,
        expand=2, use_bias=False, mlp_bias=False, mlp_hidden_act="relu2", layer_norm_epsilon=1e-5,
        mamba_hidden_act="silu", use_conv_bias=True, mamba_proj_bias=False, attention_bias=False,
    ),
    "first state space": _config(
        "JambaForCausalLM", "jamba", attn_layer_period=4, attn_layer_offset=2, expert_layer_period=2,
        expert_layer_offset=1, num_experts=4, num_experts_per_tok=2, mamba_d_state=16, mamba_d_conv=4, mamba_expand=2,
        mamba_dt_rank=8, mamba_conv_bias=True, mamba_proj_bias=False, use_mamba_kernels=False,
    ),
    "attention and state in one layer": _config(
        "FalconH1ForCausalLM", "falcon_h1", mamba_d_ssm=256, mamba_n_heads=8, mamba_d_head=32, mamba_n_groups=1,
        mamba_d_state=64, mamba_d_conv=4, mamba_expand=2, mamba_chunk_size=256, mamba_conv_bias=True,
    ),
    "gated delta": _config(
        "Qwen3NextForCausalLM", "qwen3_next", full_attention_interval=4, linear_conv_kernel_dim=4,
        linear_key_head_dim=32, linear_num_key_heads=2, linear_num_value_heads=4, linear_value_head_dim=32,
        shared_expert_intermediate_size=64, decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True, **_EXPERTS,
    ),
    "short convolution": _config(
        "Lfm2ForCausalLM", "lfm2", conv_L_cache=3, conv_bias=False, conv_dim=128, conv_dim_out=128, norm_eps=1e-5,
        block_dim=128, block_ff_dim=256, block_auto_adjust_ff_dim=False, block_multiple_of=32,
        block_ffn_dim_multiplier=1.0, layer_types=["conv", "conv", "full_attention", "conv"], tie_word_embeddings=True,
    ),
    "layers that share": _config(
        "Gemma3nForCausalLM", "gemma3n_text", num_hidden_layers=6, num_kv_shared_layers=2, sliding_window=512,
        layer_types=["sliding_attention", "full_attention"] * 3, hidden_size_per_layer_input=32,
        vocab_size_per_layer_input=512, intermediate_size=[256] * 6, altup_num_inputs=2, altup_active_idx=0,
        laurel_rank=8, activation_sparsity_pattern=[0.0] * 6, hidden_activation="gelu_pytorch_tanh",
        tie_word_embeddings=True, altup_coef_clip=120.0, altup_correct_scale=True, final_logit_softcapping=30.0,
    ),
    "encoder and decoder": {
        "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 128,
        "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "vocab_size": 512, "max_source_positions": 1500,
        "max_target_positions": 448, "num_mel_bins": 80, "torch_dtype": "bfloat16", "num_hidden_layers": 2,
        "is_encoder_decoder": True, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3,
        "decoder_start_token_id": 2,
    },
}  # fmt: skip
